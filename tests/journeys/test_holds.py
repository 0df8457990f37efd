"""Money that is held by an admin, taken or given back; and the statement, which tells all of it."""

import asyncio
import re
import uuid
from typing import Any

import grpc
import httpx
import pytest

from gozon.payments.v1.payments_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    Entry,
    GetAccountRequest,
    Hold,
    ListEntriesRequest,
    ReleaseHoldRequest,
)
from kit.ids import new_id
from tests.conftest import NewUser
from tests.edge.expect import assert_error
from tests.support import Edge, User, refused

Json = dict[str, Any]

MONEY = 1000


@pytest.fixture
async def jan(edge: Edge, new_user: NewUser) -> User:
    """A user with money."""
    user = await new_user()
    await edge.deposit(user, MONEY)
    return user


async def ask(
    edge: Edge, caller: User, user: User, what: str, order_id: str, key: str = "", **body: Any
) -> httpx.Response:
    """Asks for a hold, or for its capture or release, with a new key unless one is given."""
    headers = {**caller.headers, "idempotency-key": key or uuid.uuid4().hex}
    return await edge.rest.post(f"/accounts/{user.id}/{what}", json={"order_id": order_id, **body}, headers=headers)


async def money(edge: Edge, user: User, **query: str) -> tuple[int, int, int]:
    """Balance, held and available."""
    answer = await edge.rest.get(f"/accounts/{user.id}", params=query, headers=user.headers)
    assert answer.status_code == 200, answer.text
    account = answer.json()
    return int(account["balance"]), int(account["held"]), int(account["available"])


async def entries(edge: Edge, user: User, page_size: int = 100) -> list[Json]:
    """All of a statement, newest first, read page by page."""
    found: list[Json] = []
    token = ""
    while True:
        query: dict[str, str | int] = {"page_size": page_size, "page_token": token}
        answer = await edge.rest.get(f"/accounts/{user.id}/entries", params=query, headers=user.headers)
        assert answer.status_code == 200, answer.text
        found += answer.json()["entries"]
        assert len(answer.json()["entries"]) <= page_size
        if not (token := answer.json()["next_page_token"]):
            return found


async def test_over_rest_a_part_is_captured_and_the_rest_is_available_again(edge: Edge, jan: User, admin: User) -> None:
    order_id, key = new_id(), uuid.uuid4().hex
    held = await ask(edge, admin, jan, "hold", order_id, key, amount=300)
    assert held.status_code == 200, held.text
    assert (held.json()["status"], held.json()["amount"], held.json()["currency"]) == ("HELD", "300", "RUB")
    assert held.json()["expires_at"] > held.json()["created_at"]
    assert await money(edge, jan) == (MONEY, 300, MONEY - 300)

    again = await ask(edge, admin, jan, "hold", order_id, key, amount=300)
    assert (again.json(), again.headers["idempotency-replayed"]) == (held.json(), "true")
    same = await ask(edge, admin, jan, "hold", order_id, amount="300", currency="RUB")
    assert (same.json(), "idempotency-replayed" in same.headers) == (held.json(), False)
    assert_error(await ask(edge, admin, jan, "hold", order_id, key, amount=301), 409, 6, "IDEMPOTENCY_KEY_REUSED")
    assert_error(await ask(edge, admin, jan, "hold", order_id, amount=301), 409, 6, "PAYMENT_EXISTS")
    assert_error(await ask(edge, admin, jan, "capture", order_id, amount=301), 400, 3, "CAPTURE_TOO_LARGE")
    assert await money(edge, jan) == (MONEY, 300, MONEY - 300)

    captured = await ask(edge, admin, jan, "capture", order_id, amount=200)
    assert (captured.json()["status"], captured.json()["captured_amount"]) == ("CAPTURED", "200")
    assert await money(edge, jan) == (MONEY - 200, 0, MONEY - 200)
    assert (await ask(edge, admin, jan, "capture", order_id, amount=200)).json() == captured.json()
    assert_error(await ask(edge, admin, jan, "capture", order_id, amount=100), 400, 9, "HOLD_CAPTURED")
    assert_error(await ask(edge, admin, jan, "release", order_id), 400, 9, "HOLD_CAPTURED")
    assert await money(edge, jan) == (MONEY - 200, 0, MONEY - 200)


async def test_over_grpc_what_is_released_can_not_be_taken(edge: Edge, jan: User, admin: User) -> None:
    order_id = new_id()
    request = CreateHoldRequest(user_id=jan.id, order_id=order_id, amount=300)
    held = await edge.payments.CreateHold(request, metadata=admin.metadata(uuid.uuid4().hex))
    assert (held.status, held.amount, held.order_id) == (Hold.HELD, 300, order_id)
    release = ReleaseHoldRequest(user_id=jan.id, order_id=order_id)
    for _ in range(2):
        released = await edge.payments.ReleaseHold(release, metadata=admin.metadata())
        assert (released.status, released.captured_amount) == (Hold.RELEASED, 0)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "HOLD_RELEASED"):
        capture = CaptureHoldRequest(user_id=jan.id, order_id=order_id)
        await edge.payments.CaptureHold(capture, metadata=admin.metadata())
    assert await money(edge, jan) == (MONEY, 0, MONEY)
    assert [one["kind"] for one in await entries(edge, jan)] == ["RELEASE", "HOLD", "DEPOSIT"]


async def test_never_more_is_held_than_there_is(edge: Edge, jan: User, admin: User) -> None:
    answers = await asyncio.gather(*(ask(edge, admin, jan, "hold", new_id(), amount=300) for _ in range(10)))

    refusals = [one for one in answers if one.status_code != 200]
    assert len(refusals) == 10 - MONEY // 300
    for answer in refusals:
        assert_error(answer, 400, 9, "INSUFFICIENT_FUNDS")
    assert await money(edge, jan) == (MONEY, 900, 100)


async def test_of_capture_and_release_at_once_one_wins(edge: Edge, jan: User, admin: User) -> None:
    for _ in range(5):
        order_id = new_id()
        before = await money(edge, jan)
        assert (await ask(edge, admin, jan, "hold", order_id, amount=10)).status_code == 200
        asked = [ask(edge, admin, jan, what, order_id) for what in ("capture", "release") * 5]
        answers = [answer.json() for answer in await asyncio.gather(*asked)]

        [status] = {answer["status"] for answer in answers if "status" in answer}
        reasons = {answer["details"][0]["reason"] for answer in answers if "details" in answer}
        assert (status, reasons) in (("CAPTURED", {"HOLD_CAPTURED"}), ("RELEASED", {"HOLD_RELEASED"}))
        taken = 10 if status == "CAPTURED" else 0
        assert await money(edge, jan) == (before[0] - taken, 0, before[0] - taken)


async def test_an_order_follows_what_an_admin_does_with_its_hold(edge: Edge, jan: User, admin: User) -> None:
    async def after(what: str, **body: Any) -> Json:
        created = await edge.rest.post("/orders", json={"amount": 300, "capture": "MANUAL"}, headers=jan.headers)
        order = await edge.settled(jan, created.json()["id"])
        done = await ask(edge, admin, jan, what, order["id"], **body)
        assert done.status_code == 200, done.text
        return await edge.becomes(jan, order["id"], status="PAID" if what == "capture" else "CANCELED")

    paid = await after("capture", amount=250)
    assert (paid["total_price"], paid["paid_price"]) == ("300", "250")
    released = await after("release")
    assert (released["cancel_reason"], released["paid_price"]) == ("RELEASED", "0")
    assert await money(edge, jan) == (MONEY - 250, 0, MONEY - 250)


async def test_holds_are_for_admins(edge: Edge, jan: User, admin: User) -> None:
    order_id = new_id()
    assert (await ask(edge, admin, jan, "hold", order_id, amount=300)).status_code == 200
    bodies: dict[str, Json] = {"hold": {"amount": 1}, "capture": {}, "release": {}}
    for what, body in bodies.items():
        assert_error(await ask(edge, jan, jan, what, order_id, **body), 403, 7, "ADMIN_ONLY")
    for call in (
        edge.payments.CreateHold(
            CreateHoldRequest(user_id=jan.id, order_id=order_id, amount=1), metadata=jan.metadata("k")
        ),
        edge.payments.CaptureHold(CaptureHoldRequest(user_id=jan.id, order_id=order_id), metadata=jan.metadata()),
        edge.payments.ReleaseHold(ReleaseHoldRequest(user_id=jan.id, order_id=order_id), metadata=jan.metadata()),
    ):
        with refused(grpc.StatusCode.PERMISSION_DENIED, "ADMIN_ONLY"):
            await call
    assert await money(edge, jan) == (MONEY, 300, MONEY - 300)


async def test_what_can_not_be_held_says_why(edge: Edge, jan: User, admin: User, alice: User) -> None:
    keyless = await edge.rest.post(
        f"/accounts/{jan.id}/hold", json={"order_id": new_id(), "amount": 1}, headers=admin.headers
    )
    assert_error(keyless, 400, 3, "IDEMPOTENCY_KEY_REQUIRED")
    for amount in (0, -1, 10**12 + 1, "1.5"):
        assert_error(await ask(edge, admin, jan, "hold", new_id(), amount=amount), 400, 3, "INVALID_REQUEST")
    wrong = await ask(edge, admin, jan, "hold", new_id(), amount=1, currency="EUR")
    assert_error(wrong, 400, 3, "CURRENCY_MISMATCH")
    assert_error(await ask(edge, admin, alice, "hold", new_id(), amount=1), 404, 5, "ACCOUNT_NOT_FOUND")
    for what in ("capture", "release"):
        assert_error(await ask(edge, admin, jan, what, new_id()), 404, 5, "HOLD_NOT_FOUND")
    paid = await edge.rest.post("/orders", json={"amount": 5}, headers=jan.headers)
    await edge.settled(jan, paid.json()["id"])
    assert_error(await ask(edge, admin, jan, "hold", paid.json()["id"], amount=5), 409, 6, "PAYMENT_EXISTS")
    assert_error(await ask(edge, admin, jan, "capture", paid.json()["id"]), 404, 5, "HOLD_NOT_FOUND")


# --- The statement


@pytest.fixture
async def moved(edge: Edge, jan: User, admin: User) -> User:
    """Somebody whose money moved in every way there is."""
    first, second = new_id(), new_id()
    asked: tuple[tuple[str, str, Json], ...] = (
        ("hold", first, {"amount": 300}),
        ("capture", first, {"amount": 200}),
        ("hold", second, {"amount": 50}),
        ("release", second, {}),
    )
    for what, order_id, body in asked:
        assert (await ask(edge, admin, jan, what, order_id, **body)).status_code == 200
    order = await edge.rest.post("/orders", json={"amount": 70}, headers=jan.headers)
    await edge.settled(jan, order.json()["id"])
    canceled = await edge.rest.post(f"/orders/{order.json()['id']}:cancel", headers=jan.headers)
    assert canceled.status_code == 200, canceled.text
    await edge.becomes(jan, order.json()["id"], refunded_price="70")
    return jan


async def test_a_statement_tells_every_movement_with_the_money_after_it(edge: Edge, moved: User) -> None:
    told = (await entries(edge, moved))[::-1]

    kinds = ["DEPOSIT", "HOLD", "CAPTURE", "HOLD", "RELEASE", "CHARGE", "REFUND"]
    assert [one["kind"] for one in told] == kinds
    assert [int(one["number"]) for one in told] == list(range(1, len(kinds) + 1))
    assert [bool(one["order_id"]) for one in told] == [kind != "DEPOSIT" for kind in kinds]
    balance = held = 0
    for one in told:
        balance += int(one["amount"]) + int(one["held_amount"])
        held += int(one["held_amount"])
        assert (int(one["balance"]), int(one["held"])) == (balance, held)
        assert re.fullmatch("[0-9a-f]{64}", one["hash"])
    assert (balance, held, balance - held) == await money(edge, moved)
    assert len({one["hash"] for one in told}) == len(told)
    assert [one["created_at"] for one in told] == sorted(one["created_at"] for one in told)


async def test_its_pages_follow_each_other_newest_first(edge: Edge, moved: User) -> None:
    whole = await entries(edge, moved)
    for size in (1, 2, len(whole), len(whole) + 1):
        assert await entries(edge, moved, size) == whole
    request = ListEntriesRequest(user_id=moved.id, page_size=2)
    page = await edge.payments.ListEntries(request, metadata=moved.metadata())
    assert [one.kind for one in page.entries] == [Entry.REFUND, Entry.CHARGE]
    assert page.next_page_token
    bad = await edge.rest.get(f"/accounts/{moved.id}/entries?page_token=x", headers=moved.headers)
    assert_error(bad, 400, 3, "INVALID_PAGE_TOKEN")


async def test_an_account_can_be_seen_as_it_was(edge: Edge, moved: User) -> None:
    told = await entries(edge, moved)
    # Of those at the same moment the last one counts.
    for moment in {one["created_at"] for one in told}:
        last = next(one for one in told if one["created_at"] == moment)
        wanted = (int(last["balance"]), int(last["held"]), int(last["balance"]) - int(last["held"]))
        assert await money(edge, moved, at=moment) == wanted
    assert await money(edge, moved, at="2999-12-31T23:59:59Z") == await money(edge, moved)

    before = await edge.rest.get(f"/accounts/{moved.id}?at=2026-01-01T00:00:00Z", headers=moved.headers)
    assert_error(before, 404, 5, "ACCOUNT_NOT_FOUND")
    never = await edge.rest.get(f"/accounts/{moved.id}?at.seconds=99999999999999", headers=moved.headers)
    assert_error(never, 400, 3, "INVALID_REQUEST")
    request = GetAccountRequest(user_id=moved.id)
    request.at.nanos = -1
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
        await edge.payments.GetAccount(request, metadata=moved.metadata())


async def test_nobody_else_reads_a_statement(edge: Edge, moved: User, alice: User, admin: User) -> None:
    path = f"/accounts/{moved.id}/entries"
    assert_error(await edge.rest.get(path, headers=alice.headers), 404, 5, "ACCOUNT_NOT_FOUND")
    past = await edge.rest.get(f"/accounts/{moved.id}?at=2999-12-31T00:00:00Z", headers=alice.headers)
    assert_error(past, 404, 5, "ACCOUNT_NOT_FOUND")
    assert (await edge.rest.get(path, headers=admin.headers)).json()["entries"] == await entries(edge, moved)
    own = await edge.rest.get(f"/accounts/{alice.id}/entries", headers=alice.headers)
    assert_error(own, 404, 5, "ACCOUNT_NOT_FOUND")
