"""services.payments.payouts_*: each step and each refusal, on PostgreSQL; the books stay right whatever comes."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from gozon.payouts.v1.payouts_pb2 import (
    CreatePayoutRequest,
    DeletePayoutRequest,
    GetPayoutRequest,
    ListPayoutsRequest,
    Payout,
    StartPayoutResponse,
)
from kit.db import Database, sql
from kit.errors import TransitionNotAllowed
from services.payments import payouts_service
from services.payments.domain import InsufficientFunds
from services.payments.payouts import (
    NO_REASON,
    STEP_TO,
    TRANSITIONS,
    step_to,
)
from services.payments.payouts_api import PayoutsApi
from services.payments.service import PaymentService
from tests.payments.audit import assert_books_are_right, everything_in
from tests.payments.payout_steps import (
    CARD,
    RECIPIENT,
    api_on,
    by_admin,
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
from tests.payments.steps import account_with, deposit, money_of

MONEY = 1000
REQUESTED, CHANGED = "payouts.requested", "payouts.changed"
STATUSES = Payout.PENDING, Payout.PROCESSING, Payout.COMPLETED, Payout.FAILED, Payout.CANCELED


async def passes(database: Database, how_long: timedelta) -> None:
    """Makes all payouts older."""
    async with database.autocommit() as connection:
        await connection.execute(
            sql("""UPDATE payouts SET asked_at = asked_at - :by::interval, created_at = created_at - :by::interval,
                                      updated_at = updated_at - :by::interval"""),
            by=how_long,
        )


@pytest.fixture
def api(payments_db: Database) -> PayoutsApi:
    return api_on(payments_db)


@pytest.fixture
async def ann(service: PaymentService) -> str:
    """Somebody with money."""
    return await account_with(service, MONEY)


def test_the_table_says_all_that_may_become_of_a_status() -> None:
    allowed = {(before, after) for before, after in TRANSITIONS.values()}
    assert allowed == {
        ("PENDING", "PROCESSING"),
        ("PENDING", "CANCELED"),
        ("PROCESSING", "COMPLETED"),
        ("PROCESSING", "FAILED"),
    }
    names = [Payout.Status.Name(status) for status in STATUSES]
    for before in names:
        for after in names:
            if before == after:
                assert step_to(after, before) is None
            elif (before, after) in allowed:
                assert step_to(after, before) == STEP_TO[after]
            else:
                with pytest.raises(TransitionNotAllowed):
                    step_to(after, before)


async def test_creating_holds_the_money_and_asks_for_it_to_be_paid(
    api: PayoutsApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    own = call(ann, "k", **{"x-envoy-original-path": "/payouts"})
    payout = await api.create_payout(CreatePayoutRequest(amount=300, recipient=RECIPIENT, comment="rent"), own)
    assert (payout.status, payout.amount, payout.currency, payout.comment) == (Payout.PENDING, 300, "RUB", "rent")
    assert (payout.user_id, payout.etag, payout.recipient.card.number) == (ann, "1", "************4242")
    assert own.response_headers == {"x-http-code": "201", "location": f"/payouts/{payout.id}", "etag": '"1"'}
    assert await money_of(service, ann) == (MONEY - 300, 300)
    assert await told(payments_db) == [(REQUESTED, payout.id, ""), (CHANGED, payout.id, "PENDING")]
    [entry, _] = await service.list_entries(ann, 2**63 - 1, 5)
    assert (entry.payout_id, entry.order_id, entry.amount, entry.held_amount) == (payout.id, "", -300, 300)
    await assert_books_are_right(payments_db)


async def test_a_worker_begins_it_once_and_is_told_who_is_paid(
    api: PayoutsApi, ann: str, payments_db: Database
) -> None:
    payout = await create(api, ann)
    answers = await asyncio.gather(*(start(api, payout) for _ in range(5)))
    assert sorted(answer.begun_before for answer in answers) == [False, True, True, True, True]
    for answer in answers:
        assert (answer.payout.status, answer.payout.etag) == (Payout.PROCESSING, "2")
        assert answer.recipient == RECIPIENT
        assert answer.payout.recipient.card.number == "************4242"
    assert (await told(payments_db))[2:] == [(CHANGED, payout.id, "PROCESSING")]


async def test_what_is_completed_has_left_the_account(
    api: PayoutsApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    payout = await in_status(api, ann, Payout.PROCESSING)
    done = await finish(api, payout, Payout.COMPLETED, provider_reference="r-1", failure_reason="none")
    assert (done.status, done.provider_reference, done.failure_reason) == (Payout.COMPLETED, "r-1", "")
    assert await money_of(service, ann) == (MONEY - 300, 0)
    assert await finish(api, payout, Payout.COMPLETED, provider_reference="r-2") == done
    answer = await start(api, payout)
    assert (answer.payout, answer.begun_before, answer.HasField("recipient")) == (done, True, False)
    assert (await told(payments_db))[3:] == [(CHANGED, payout.id, "COMPLETED")]
    await assert_books_are_right(payments_db)


async def test_what_failed_is_available_again_and_says_why(
    api: PayoutsApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    payout = await in_status(api, ann, Payout.PROCESSING)
    words = f"card {CARD} was refused " + "because " * 100
    failed = await finish(api, payout, Payout.FAILED, failure_reason=words, provider_reference="r-1")
    assert (failed.status, failed.provider_reference) == (Payout.FAILED, "")
    assert failed.failure_reason.startswith("card ************4242 was refused because")
    assert len(failed.failure_reason) <= 200
    assert await money_of(service, ann) == (MONEY, 0)
    assert await finish(api, payout, Payout.FAILED, failure_reason="again") == failed
    silent = await finish(api, await in_status(api, ann, Payout.PROCESSING), Payout.FAILED)
    assert silent.failure_reason == NO_REASON
    await assert_books_are_right(payments_db)


async def test_what_is_deleted_is_available_again_and_in_no_list(
    api: PayoutsApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    payout = await create(api, ann)
    own = call(ann, **{"x-envoy-original-path": "/payouts"})
    await api.delete_payout(DeletePayoutRequest(payout_id=payout.id), own)
    assert own.response_headers == {"x-http-code": "204"}
    gone = await api.get_payout(GetPayoutRequest(payout_id=payout.id), call(ann))
    assert (gone.status, gone.HasField("deleted_at"), gone.etag) == (Payout.CANCELED, True, "2")
    assert await money_of(service, ann) == (MONEY, 0)
    await delete(api, payout, ann)
    assert await api.get_payout(GetPayoutRequest(payout_id=payout.id), call(ann)) == gone
    for deleted, found in ((False, []), (True, [gone])):
        listed = await api.list_payouts(ListPayoutsRequest(show_deleted=deleted), call(ann))
        assert list(listed.payouts) == found
    answer = await start(api, payout)
    assert (answer.payout, answer.begun_before, answer.HasField("recipient")) == (gone, False, False)
    await assert_books_are_right(payments_db)


async def test_what_an_admin_canceled_may_be_deleted_too(api: PayoutsApi, ann: str) -> None:
    payout = await create(api, ann)
    canceled = await update(api, payout, status=Payout.CANCELED)
    assert (canceled.status, canceled.HasField("deleted_at")) == (Payout.CANCELED, False)
    assert list((await api.list_payouts(ListPayoutsRequest(), call(ann))).payouts) == [canceled]
    await delete(api, payout, ann)
    assert not (await api.list_payouts(ListPayoutsRequest(), call(ann))).payouts


@pytest.mark.parametrize("before", STATUSES, ids=Payout.Status.Name)
async def test_from_each_status_only_what_the_table_allows(
    before: Payout.Status, api: PayoutsApi, ann: str, payments_db: Database
) -> None:
    allowed = {
        STATUSES.index(getattr(Payout, after))
        for was, after in TRANSITIONS.values()
        if was == Payout.Status.Name(before)
    }
    payout = await in_status(api, ann, before)
    untouched, events = await everything_in(payments_db), await told(payments_db)
    # Whoever asks: an admin by PATCH, a worker, the owner.
    asked: list[Any] = [
        update(api, payout, status=after, failure_reason="no" if after == Payout.FAILED else None)
        for index, after in enumerate(STATUSES)
        if after != before and index not in allowed
    ]
    asked += [
        finish(api, payout, after)
        for after in (Payout.COMPLETED, Payout.FAILED)
        if after != before and STATUSES.index(after) not in allowed
    ]
    if before not in (Payout.PENDING, Payout.CANCELED):
        asked.append(delete(api, payout, ann))
    if before != Payout.PENDING:
        asked.append(update(api, payout, ann, comment="other"))
    for one in asked:
        with pytest.raises(TransitionNotAllowed):
            await one
    assert await update(api, payout, status=before, failure_reason="x" if before == Payout.FAILED else None) == payout
    assert (await everything_in(payments_db), await told(payments_db)) == (untouched, events)
    for index in allowed:
        after = STATUSES[index]
        other = await in_status(api, ann, before)
        changed = await update(api, other, status=after, failure_reason="no" if after == Payout.FAILED else None)
        assert (changed.status, int(changed.etag)) == (after, int(other.etag) + 1)
        assert changed.failure_reason == ("no" if after == Payout.FAILED else "")
    await assert_books_are_right(payments_db)


async def test_fifty_at_once_with_one_key_are_one(service: PaymentService, ann: str, payments_db: Database) -> None:
    apis = [api_on(payments_db), api_on(payments_db)]
    payouts = await asyncio.gather(*(create(apis[n % 2], ann, key="k") for n in range(50)))
    assert len({payout.id for payout in payouts}) == 1
    assert await money_of(service, ann) == (MONEY - 300, 300)
    assert len(await told(payments_db)) == 2
    await assert_books_are_right(payments_db)


async def test_fifty_at_once_never_hold_more_than_there_is(
    api: PayoutsApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    results = await asyncio.gather(*(create(api, ann) for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(result, InsufficientFunds) for result in results) == 47
    assert await money_of(service, ann) == (100, 900)
    await assert_books_are_right(payments_db)


async def test_deleting_and_beginning_at_once_one_wins(
    api: PayoutsApi, service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 10_000)
    ends = set()
    for n in range(10):
        payout = await create(api, user_id)
        both = [delete(api, payout, user_id), start(api, payout)]
        results = await asyncio.gather(*(both if n % 2 else both[::-1]), return_exceptions=True)
        refused = [result for result in results if isinstance(result, TransitionNotAllowed)]
        [begun] = [result for result in results if isinstance(result, StartPayoutResponse)]
        status = (await api.get_payout(GetPayoutRequest(payout_id=payout.id), by_admin())).status
        ends.add(status)
        assert (status, len(refused), begun.HasField("recipient")) in (
            (Payout.PROCESSING, 1, True),
            (Payout.CANCELED, 0, False),
        )
    await assert_books_are_right(payments_db)
    held = (await money_of(service, user_id))[1]
    listed = await api.list_payouts(ListPayoutsRequest(status=Payout.PROCESSING), call(user_id))
    assert held == 300 * len(listed.payouts)


async def test_both_outcomes_at_once_one_wins_and_the_other_is_an_error(
    api: PayoutsApi, ann: str, payments_db: Database
) -> None:
    payout = await in_status(api, ann, Payout.PROCESSING)
    asked = [finish(api, payout, status) for status in (Payout.COMPLETED, Payout.FAILED) * 3]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(result, TransitionNotAllowed) for result in results) == 3
    assert len({result.status for result in results if isinstance(result, Payout)}) == 1
    await assert_books_are_right(payments_db)


async def test_payouts_and_other_movements_at_once_keep_the_books_right(
    api: PayoutsApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    async def live(status: Payout.Status) -> None:
        await in_status(api, ann, status)

    deposits = [deposit(service, ann, 300) for _ in range(10)]
    await asyncio.gather(*(live(status) for status in STATUSES * 2), *deposits, return_exceptions=True)
    await assert_books_are_right(payments_db)


async def test_workers_are_asked_again_only_once_nothing_new_waits_for_them(
    api: PayoutsApi, ann: str, payments_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payouts_service, "SWEEP_SECONDS", 0)
    payout = await create(api, ann)
    await passes(payments_db, timedelta(seconds=31))
    answers, asked = iter([False, False, True]), asyncio.Event()
    before: list[int] = []

    async def idle() -> bool:
        before.append((await told(payments_db)).count((REQUESTED, payout.id, "")))
        answer = next(answers, None)
        if answer is None:
            asked.set()
        return bool(answer)

    asking = asyncio.create_task(payouts_on(payments_db).ask_again_now_and_then(idle))
    async with asyncio.timeout(10):
        await asked.wait()
    asking.cancel()
    assert before[:4] == [1, 1, 1, 2]


async def test_workers_are_asked_again_for_what_has_not_ended_less_and_less_often(
    api: PayoutsApi, ann: str, payments_db: Database
) -> None:
    pending, begun = await create(api, ann, 10), await in_status(api, ann, Payout.PROCESSING)
    await in_status(api, ann, Payout.COMPLETED)
    service = payouts_on(payments_db)
    assert await service.ask_again() == 0
    before = len(await told(payments_db))
    asked = []
    for seconds in (31, 29, 31, 120, 240, 480, 601, 601):
        await passes(payments_db, timedelta(seconds=seconds))
        found = await asyncio.gather(*(payouts_on(payments_db).ask_again() for _ in range(3)))
        asked.append(sum(found))
    assert asked == [2, 0, 2, 2, 2, 2, 2, 2]
    questions = (await told(payments_db))[before:]
    assert set(questions) == {(REQUESTED, pending.id, ""), (REQUESTED, begun.id, "")}
    assert len(questions) == sum(asked)
