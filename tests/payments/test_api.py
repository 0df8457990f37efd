"""services.payments.api: who may do what to whose account, and what is in the requests and the answers."""

from datetime import UTC, datetime, timedelta
from typing import TypedDict

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gozon.payments.v1.payments_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    DepositRequest,
    Entry,
    GetAccountRequest,
    Hold,
    ListEntriesRequest,
    OpenAccountRequest,
    ReleaseHoldRequest,
)
from kit.auth import Identity
from kit.errors import IdempotencyKeyRequired, IdempotencyKeyReused, InvalidPageToken
from kit.ids import new_id
from kit.rpc import Call
from services.payments.api import PaymentsApi
from services.payments.domain import AccountExists, AccountNotFound, HoldCaptured
from services.payments.service import PaymentService
from tests.support import Edge, User, refused

USER, OTHER, ORDER = new_id(), new_id(), new_id()


class Ids(TypedDict):
    """What the requests about a hold have in common."""

    user_id: str
    order_id: str


def call(user_id: str = USER, *, key: str = "", role: str = "user", rest: bool = False) -> Call:
    metadata = {"x-envoy-original-path": "/accounts"} if rest else {}
    return Call(Identity(user_id, frozenset({role}), 0), metadata, key)


def by_admin(key: str = "") -> Call:
    return call(OTHER, key=key or new_id(), role="admin")


@pytest.fixture
def api(service: PaymentService) -> PaymentsApi:
    return PaymentsApi(service)


async def opened(api: PaymentsApi, *deposits: int) -> None:
    await api.open_account(OpenAccountRequest(user_id=USER), call())
    for amount in deposits:
        await api.deposit(DepositRequest(user_id=USER, amount=amount), call(key=new_id()))


async def test_opening_an_account_over_rest_is_a_creation(api: PaymentsApi) -> None:
    own = call(rest=True)
    account = await api.open_account(OpenAccountRequest(user_id=USER), own)
    assert own.response_headers == {"x-http-code": "201", "location": f"/accounts/{USER}"}
    grpc_call = call()
    with pytest.raises(AccountExists):
        await api.open_account(OpenAccountRequest(user_id=USER), grpc_call)
    assert grpc_call.response_headers == {}
    assert await api.get_account(GetAccountRequest(user_id=USER), call()) == account


async def test_an_id_means_the_same_in_whatever_case_it_is_written(api: PaymentsApi) -> None:
    await api.open_account(OpenAccountRequest(user_id=USER.upper()), call())
    assert (await api.get_account(GetAccountRequest(user_id=USER.upper()), call())).user_id == USER
    await api.deposit(DepositRequest(user_id=USER.upper(), amount=10), call(key="k"))
    ids: Ids = {"user_id": USER.upper(), "order_id": ORDER.upper()}
    admin = by_admin()
    held = await api.create_hold(CreateHoldRequest(**ids, amount=5), admin)
    assert (held.user_id, held.order_id) == (USER, ORDER)
    assert (await api.capture_hold(CaptureHoldRequest(**ids), admin)).status == Hold.CAPTURED
    assert len((await api.list_entries(ListEntriesRequest(user_id=USER.upper()), call())).entries) == 3


async def test_an_admin_may_do_all_that(api: PaymentsApi) -> None:
    admin = by_admin()
    await api.open_account(OpenAccountRequest(user_id=USER), admin)
    await api.deposit(DepositRequest(user_id=USER, amount=5), admin)
    assert (await api.get_account(GetAccountRequest(user_id=USER), admin)).balance == 5


async def test_a_deposit_needs_a_key_and_says_when_it_is_a_replay(api: PaymentsApi) -> None:
    await opened(api)
    request = DepositRequest(user_id=USER, amount=5)
    with pytest.raises(IdempotencyKeyRequired):
        await api.deposit(request, call())
    first, again = call(key="k"), call(key="k")
    assert await api.deposit(request, first) == await api.deposit(request, again)
    assert (first.response_headers, again.response_headers) == ({}, {"idempotency-replayed": "true"})


async def test_a_hold_needs_a_key_and_says_when_it_is_a_replay(api: PaymentsApi) -> None:
    await opened(api, 100)
    request = CreateHoldRequest(user_id=USER, order_id=ORDER, amount=30)
    with pytest.raises(IdempotencyKeyRequired):
        await api.create_hold(request, call(OTHER, role="admin"))
    first, again = by_admin("k"), by_admin("k")
    held = await api.create_hold(request, first)
    await api.capture_hold(CaptureHoldRequest(user_id=USER, order_id=ORDER), by_admin())
    assert await api.create_hold(request, again) == held
    assert (first.response_headers, again.response_headers) == ({}, {"idempotency-replayed": "true"})
    for other in ({"amount": 31}, {"currency": "RUB"}, {"order_id": new_id()}):
        changed = CreateHoldRequest(user_id=USER, order_id=ORDER, amount=30)
        changed.MergeFrom(CreateHoldRequest(**other))
        with pytest.raises(IdempotencyKeyReused):
            await api.create_hold(changed, by_admin("k"))
    # The key is the admin's own, for this method.
    another = call(new_id(), key="k", role="admin")
    assert (await api.create_hold(request, another)).status == Hold.CAPTURED
    assert another.response_headers == {}
    await api.deposit(DepositRequest(user_id=USER, amount=1), by_admin("k"))
    assert (await api.get_account(GetAccountRequest(user_id=USER), call())).balance == 71


async def test_a_hold_is_released_or_captured_and_says_so(api: PaymentsApi) -> None:
    await opened(api, 100)
    ids: Ids = {"user_id": USER, "order_id": ORDER}
    held = await api.create_hold(CreateHoldRequest(**ids, amount=30), by_admin())
    account = await api.get_account(GetAccountRequest(user_id=USER), call())
    assert (account.balance, account.held, account.available) == (100, 30, 70)
    released = await api.release_hold(ReleaseHoldRequest(**ids), by_admin())
    assert (held.status, released.status) == (Hold.HELD, Hold.RELEASED)
    second: Ids = {"user_id": USER, "order_id": new_id()}
    await api.create_hold(CreateHoldRequest(**second, amount=30), by_admin())
    captured = await api.capture_hold(CaptureHoldRequest(**second, amount=10), by_admin())
    assert (captured.status, captured.amount, captured.captured_amount) == (Hold.CAPTURED, 30, 10)
    with pytest.raises(HoldCaptured):
        await api.release_hold(ReleaseHoldRequest(**second), by_admin())


async def test_a_statement_comes_in_pages_newest_first_and_says_what_moved(api: PaymentsApi) -> None:
    await opened(api, 100)
    orders = [new_id(), new_id()]
    for order_id in orders:
        await api.create_hold(CreateHoldRequest(user_id=USER, order_id=order_id, amount=30), by_admin())
    await api.capture_hold(CaptureHoldRequest(user_id=USER, order_id=orders[0], amount=10), by_admin())
    await api.release_hold(ReleaseHoldRequest(user_id=USER, order_id=orders[1]), by_admin())
    found: list[Entry] = []
    token, sizes = "", []
    while token or not found:
        page = await api.list_entries(ListEntriesRequest(user_id=USER, page_size=2, page_token=token), call())
        found += page.entries
        sizes.append(len(page.entries))
        token = page.next_page_token
    assert sizes == [2, 2, 1]
    said = [(e.number, e.kind, e.order_id, e.amount, e.held_amount, e.balance, e.held) for e in found]
    assert said == [
        (5, Entry.RELEASE, orders[1], 30, -30, 90, 0),
        (4, Entry.CAPTURE, orders[0], 20, -30, 90, 30),
        (3, Entry.HOLD, orders[1], -30, 30, 100, 60),
        (2, Entry.HOLD, orders[0], -30, 30, 100, 30),
        (1, Entry.DEPOSIT, "", 100, 0, 100, 0),
    ]
    assert {len(e.hash) for e in found} == {64}
    # What is booked in the meantime shifts no page, and a page that just fits is the last.
    page = await api.list_entries(ListEntriesRequest(user_id=USER, page_size=5), call())
    assert (page.entries[:], page.next_page_token) == (found, "")
    at = GetAccountRequest(user_id=USER, at=found[2].created_at)
    assert (await api.get_account(at, call())).held == 60


async def test_a_statement_without_entries_is_empty_or_of_nobody(api: PaymentsApi) -> None:
    with pytest.raises(AccountNotFound):
        await api.list_entries(ListEntriesRequest(user_id=USER), call())
    await opened(api)
    page = await api.list_entries(ListEntriesRequest(user_id=USER), call())
    assert (page.entries[:], page.next_page_token) == ([], "")
    for token in ("0", "1", str(2**63 - 1)):
        assert not (await api.list_entries(ListEntriesRequest(user_id=USER, page_token=token), call())).entries


@pytest.mark.parametrize(
    "token", ["x", "-1", "1.0", "1e3", " 1", "²", "٣", str(2**63), "9" * 200, "1;DROP", "\0", "0x1"]
)
async def test_a_page_token_that_is_none_is_refused(token: str, api: PaymentsApi) -> None:
    with pytest.raises(InvalidPageToken):
        await api.list_entries(ListEntriesRequest(user_id=USER, page_token=token), call())


async def test_a_past_moment_shows_the_account_as_it_was(api: PaymentsApi) -> None:
    await opened(api, 100, 50)
    now = await api.get_account(GetAccountRequest(user_id=USER), call())

    async def at(moment: datetime) -> int:
        request = GetAccountRequest(user_id=USER)
        request.at.FromDatetime(moment)
        return (await api.get_account(request, call())).balance

    assert await at(now.created_at.ToDatetime(UTC)) == 0
    assert await at(now.updated_at.ToDatetime(UTC) - timedelta(microseconds=1)) == 100
    assert await at(now.updated_at.ToDatetime(UTC)) == 150
    assert await at(datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)) == 150
    for before in (now.created_at.ToDatetime(UTC) - timedelta(microseconds=1), datetime(1, 1, 1, tzinfo=UTC)):
        with pytest.raises(AccountNotFound):
            await at(before)


@pytest.mark.parametrize(
    "moment",
    [
        Timestamp(seconds=253402300800),
        Timestamp(seconds=-62135596801),
        Timestamp(seconds=2**63 - 1),
        Timestamp(seconds=-(2**63)),
        Timestamp(nanos=-1),
        Timestamp(nanos=10**9),
        Timestamp(seconds=253402300799, nanos=2**31 - 1),
        Timestamp(seconds=-62135596800, nanos=-(2**31)),
    ],
    ids=lambda moment: f"{moment.seconds} s {moment.nanos} ns",
)
async def test_a_moment_that_is_none_is_refused_over_grpc(moment: Timestamp, edge: Edge, alice: User) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
        await edge.payments.GetAccount(GetAccountRequest(user_id=alice.id, at=moment), metadata=alice.metadata())


@pytest.mark.parametrize("moment", [Timestamp(seconds=-62135596800), Timestamp(seconds=253402300799, nanos=999999999)])
async def test_the_first_and_the_last_moment_there_are_pass(moment: Timestamp, edge: Edge, alice: User) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"):
        await edge.payments.GetAccount(GetAccountRequest(user_id=alice.id, at=moment), metadata=alice.metadata())


async def test_holds_are_for_admins(edge: Edge, alice: User, admin: User) -> None:
    ids: Ids = {"user_id": alice.id, "order_id": ORDER}
    hold = CreateHoldRequest(**ids, amount=5)
    for asked in (
        lambda: edge.payments.CreateHold(hold, metadata=alice.metadata("k")),
        lambda: edge.payments.CaptureHold(CaptureHoldRequest(**ids), metadata=alice.metadata()),
        lambda: edge.payments.ReleaseHold(ReleaseHoldRequest(**ids), metadata=alice.metadata()),
    ):
        with refused(grpc.StatusCode.PERMISSION_DENIED, "ADMIN_ONLY"):
            await asked()
    with refused(grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"):
        await edge.payments.CreateHold(hold, metadata=admin.metadata(new_id()))
    with refused(grpc.StatusCode.NOT_FOUND, "HOLD_NOT_FOUND"):
        await edge.payments.CaptureHold(CaptureHoldRequest(**ids), metadata=admin.metadata())
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
        await edge.payments.CaptureHold(CaptureHoldRequest(**ids, amount=-1), metadata=admin.metadata())


async def test_a_statement_of_somebody_else_is_not_there(edge: Edge, alice: User, bob: User) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"):
        await edge.payments.ListEntries(ListEntriesRequest(user_id=bob.id), metadata=alice.metadata())
