"""services.payments.payouts_*: who may ask for what, what is refused, and what is kept secret."""

from typing import Any

import asyncpg
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from gozon.payouts.v1.payouts_pb2 import (
    BankAccount,
    CreatePayoutRequest,
    DeletePayoutRequest,
    GetPayoutRequest,
    ListPayoutsRequest,
    Payout,
    Phone,
    Recipient,
    StartPayoutRequest,
    UpdatePayoutRequest,
)
from kit.db import Database, sql
from kit.errors import (
    Error,
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    InvalidArgument,
    InvalidPageToken,
    PermissionDenied,
    StaleEtag,
)
from kit.ids import new_id
from kit.sealing import Unsealable
from services.payments.domain import AccountNotFound, CurrencyMismatch, InsufficientFunds, Limits
from services.payments.payouts import (
    PayoutLimit,
    PayoutNotFound,
)
from services.payments.payouts_api import PayoutsApi
from services.payments.service import PaymentService
from tests.payments.payout_steps import (
    CARD,
    KEY,
    OTHER_KEY,
    RECIPIENT,
    api_on,
    by_admin,
    by_worker,
    call,
    create,
    delete,
    finish,
    in_status,
    payouts_on,
    start,
    told,
    update,
)
from tests.payments.steps import account_with, money_of
from tests.support import count

MONEY = 1000


@pytest.fixture
def api(payments_db: Database) -> PayoutsApi:
    return api_on(payments_db)


@pytest.fixture
async def ann(service: PaymentService) -> str:
    """Somebody with money."""
    return await account_with(service, MONEY)


async def test_a_comment_is_changed_as_the_mask_and_the_etag_say(
    api: PayoutsApi, ann: str, payments_db: Database
) -> None:
    payout = await create(api, ann, comment="rent")
    assert await update(api, payout, ann) == payout
    assert await update(api, payout, ann, comment="rent") == payout
    changed = await update(api, payout, ann, comment="tea", etag=payout.etag)
    assert (changed.comment, changed.etag, changed.amount) == ("tea", "2", 300)
    assert changed.updated_at.ToDatetime() > payout.updated_at.ToDatetime()
    with pytest.raises(StaleEtag):
        await update(api, payout, ann, comment="other", etag=payout.etag)
    with pytest.raises(StaleEtag):
        request = UpdatePayoutRequest(payout_id=payout.id, comment="other")
        await api.update_payout(request, call(ann, **{"if-match": '"1"'}))
    with pytest.raises(StaleEtag):
        await delete(api, payout, ann, **{"if-match": '"1"'})
    cleared = await update(api, payout, ann, update_mask=FieldMask(paths=["comment"]))
    assert (cleared.comment, cleared.etag) == ("", "3")
    by_an_admin = await update(api, payout, comment="seen", status=Payout.PROCESSING)
    assert (by_an_admin.comment, by_an_admin.status, by_an_admin.etag) == ("seen", Payout.PROCESSING, "4")
    statuses = [status for subject, _, status in await told(payments_db) if subject == "payouts.changed"]
    assert statuses == ["PENDING"] * 3 + ["PROCESSING"]


@pytest.mark.parametrize(
    "fields",
    [
        {"update_mask": FieldMask(paths=["amount"])},
        {"update_mask": FieldMask(paths=["comment", "recipient.card.number"]), "comment": "x"},
        {"update_mask": FieldMask(paths=["*"])},
        {"update_mask": FieldMask(paths=["status"])},
        {"status": Payout.STATUS_UNSPECIFIED},
        {"status": Payout.FAILED},
        {"status": Payout.FAILED, "failure_reason": "  "},
        {"status": Payout.COMPLETED, "failure_reason": "why"},
        {"failure_reason": "why"},
    ],
    ids=str,
)
async def test_an_update_that_makes_no_sense_is_refused(fields: dict[str, Any], api: PayoutsApi, ann: str) -> None:
    payout = await in_status(api, ann, Payout.PROCESSING)
    with pytest.raises(InvalidArgument):
        await update(api, payout, **fields)
    assert await api.get_payout(GetPayoutRequest(payout_id=payout.id), call(ann)) == payout


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"amount": MONEY + 1}, InsufficientFunds),
        ({"amount": 5000}, InsufficientFunds),
        ({"amount": 5001}, PayoutLimit),
        ({"currency": "EUR"}, CurrencyMismatch),
    ],
    ids=str,
)
async def test_what_can_not_be_paid_holds_nothing(
    fields: dict[str, Any], refusal: type[Error], ann: str, service: PaymentService, payments_db: Database
) -> None:
    api = api_on(payments_db, Limits(max_payout=5000))
    request = CreatePayoutRequest(recipient=RECIPIENT, **{"amount": 10, **fields})
    with pytest.raises(refusal):
        await api.create_payout(request, call(ann, new_id()))
    assert await money_of(service, ann) == (MONEY, 0)
    # The events tell of the new account and of the deposit.
    assert [await count(payments_db, table) for table in ("payouts", "outbox", "idempotency_keys")] == [0, 2, 1]


async def test_who_has_no_account_or_sends_no_key_is_told_so(api: PayoutsApi, ann: str) -> None:
    with pytest.raises(AccountNotFound):
        await create(api, new_id())
    with pytest.raises(IdempotencyKeyRequired):
        await api.create_payout(CreatePayoutRequest(amount=1, recipient=RECIPIENT), call(ann))


async def test_a_replay_is_the_first_answer_and_another_recipient_is_another_request(
    api: PayoutsApi, ann: str, payments_db: Database
) -> None:
    first = await create(api, ann, key="k")
    await delete(api, first, ann)
    again = call(ann, "k")
    spaced = CreatePayoutRequest(amount=300, recipient=RECIPIENT)
    spaced.recipient.card.number = "4242 4242 4242 4242"
    assert await api.create_payout(spaced, again) == first
    assert again.response_headers["idempotency-replayed"] == "true"
    # The same last four digits: what is masked is the same.
    twin = Recipient(type=Recipient.CARD)
    twin.card.number = "5424000007004242"
    for different in (
        CreatePayoutRequest(amount=301, recipient=RECIPIENT),
        CreatePayoutRequest(amount=300, recipient=RECIPIENT, comment="x"),
        CreatePayoutRequest(amount=300, recipient=twin),
    ):
        with pytest.raises(IdempotencyKeyReused):
            await api.create_payout(different, call(ann, "k"))
    assert await count(payments_db, "payouts") == 1
    # Keys of the seal may have rotated meanwhile.
    rotated = api_on(payments_db, keys=f"{OTHER_KEY},{KEY}")
    assert await create(rotated, ann, key="k") == first


async def test_nothing_that_is_stored_or_told_gives_the_recipient_away(
    api: PayoutsApi, ann: str, payments_db: Database
) -> None:
    iban, name, phone = "GB82WEST12345698765432", "Annabel Leeward", "+79161234567"
    bank = Recipient(type=Recipient.BANK_ACCOUNT, bank_account=BankAccount(iban=iban, holder_name=name))
    by_phone = Recipient(type=Recipient.PHONE, phone=Phone(number=phone))
    for recipient in (RECIPIENT, bank, by_phone):
        payout = await api.create_payout(CreatePayoutRequest(amount=1, recipient=recipient), call(ann, new_id()))
        assert (await start(api, payout)).recipient == recipient
        await finish(api, payout, Payout.COMPLETED)
    async with payments_db.autocommit() as connection:
        for table in ("payouts", "outbox", "idempotency_keys", "transactions"):
            for row in await connection.execute(sql(f"SELECT * FROM {table}")):
                stored = b"|".join(v if isinstance(v, bytes) else str(v).encode() for v in row.values())
                for secret in (CARD, iban, "Annabel", "Leeward", phone, phone[1:]):
                    assert secret.encode() not in stored, table


async def test_without_its_key_nothing_is_begun(api: PayoutsApi, ann: str, payments_db: Database) -> None:
    payout = await create(api, ann)
    keyless = payouts_on(payments_db, keys=OTHER_KEY)
    with pytest.raises(Unsealable):
        await keyless.start_payout(payout.id)
    assert (await api.get_payout(GetPayoutRequest(payout_id=payout.id), call(ann))).status == Payout.PENDING
    assert not (await start(api, payout)).begun_before


async def test_another_users_payout_is_not_there(api: PayoutsApi, service: PaymentService, ann: str) -> None:
    payout, bob = await create(api, ann), await account_with(service, 10)
    for asked in (
        api.get_payout(GetPayoutRequest(payout_id=payout.id), call(bob)),
        api.get_payout(GetPayoutRequest(payout_id=new_id()), by_admin()),
        update(api, payout, bob, comment="mine"),
        delete(api, payout, bob),
        api.start_payout(StartPayoutRequest(payout_id=new_id()), by_worker()),
    ):
        with pytest.raises(PayoutNotFound):
            await asked
    with pytest.raises(PermissionDenied):
        await update(api, payout, ann, status=Payout.PROCESSING)
    assert not (await api.list_payouts(ListPayoutsRequest(), call(bob))).payouts
    upper = GetPayoutRequest(payout_id=payout.id.upper())
    assert await api.get_payout(upper, call(ann)) == await api.get_payout(upper, by_admin()) == payout


async def test_lists_have_pages_and_filters(api: PayoutsApi, service: PaymentService, ann: str) -> None:
    bob = await account_with(service, MONEY)
    mine = [await create(api, ann, 10) for _ in range(4)]
    by_phone = CreatePayoutRequest(
        amount=10, recipient=Recipient(type=Recipient.PHONE, phone=Phone(number="+79161234567"))
    )
    mine.append(await api.create_payout(by_phone, call(ann, new_id())))
    bobs = await create(api, bob, 10)
    await start(api, mine[0])

    async def ids(who: str = "", **fields: Any) -> list[str]:
        found, token = [], ""
        while True:
            request = ListPayoutsRequest(page_size=2, page_token=token, **fields)
            page = await api.list_payouts(request, call(who) if who else by_admin())
            assert len(page.payouts) <= 2
            found += [payout.id for payout in page.payouts]
            if not (token := page.next_page_token):
                return found

    newest_first = [payout.id for payout in reversed(mine)]
    assert await ids(ann) == await ids(ann, user_id=ann) == await ids(user_id=ann) == newest_first
    assert await ids() == [bobs.id, *newest_first]
    assert await ids(ann, status=Payout.PROCESSING) == await ids(status=Payout.PROCESSING) == [mine[0].id]
    assert await ids(ann, recipient_type=Recipient.PHONE) == [mine[4].id]
    assert await ids(ann, recipient_type=Recipient.PHONE, status=Payout.PROCESSING) == []
    for token in ("x", "MTIz", "é", "=" * 9):
        with pytest.raises(InvalidPageToken):
            await api.list_payouts(ListPayoutsRequest(page_token=token), call(ann))


@pytest.mark.parametrize(
    "change",
    [
        "status = 'FAILED', asked_at = NULL",
        "status = 'LOST'",
        "asked_at = NULL",
        "deleted_at = now()",
        "provider_reference = 'r'",
        "amount = 0",
        "recipient_type = 'PIGEON'",
    ],
)
async def test_the_database_refuses_what_no_payout_can_be(
    change: str, api: PayoutsApi, ann: str, payments_db: Database
) -> None:
    await create(api, ann)
    with pytest.raises(asyncpg.CheckViolationError):
        async with payments_db.transaction() as tx:
            await tx.execute(sql(f"UPDATE payouts SET {change}"))


async def test_an_admin_deletes_and_lists_for_everybody(api: PayoutsApi, ann: str) -> None:
    payout = await create(api, ann)
    await api.delete_payout(DeletePayoutRequest(payout_id=payout.id), by_admin())
    listed = await api.list_payouts(ListPayoutsRequest(show_deleted=True), by_admin())
    assert [one.status for one in listed.payouts] == [Payout.CANCELED]
