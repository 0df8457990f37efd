"""What becomes of an order after it was accepted: held, shipped, canceled, refunded; and who may do what."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg
import grpc
import httpx
import pytest

from gozon.orders.v1.orders_pb2 import (
    CancelOrderRequest,
    CreateOrderRequest,
    GetOrderRequest,
    ListOrderHistoryRequest,
    Order,
    RefundOrderRequest,
    UpdateOrderRequest,
    WatchOrderRequest,
)
from kit.ids import new_id
from tests.conftest import NewUser
from tests.edge.expect import assert_error
from tests.support import Edge, RunningStack, User, eventually, refused

Json = dict[str, Any]

MONEY = 1000
NOT_ALLOWED = (400, 9, "TRANSITION_NOT_ALLOWED")


@pytest.fixture
async def ida(edge: Edge, new_user: NewUser) -> User:
    """A user with money, and nothing else on the statement."""
    user = await new_user()
    await edge.deposit(user, MONEY)
    return user


async def order_of(edge: Edge, user: User, **body: object) -> Json:
    """Creates an order and waits until it is not PENDING any more."""
    created = await edge.rest.post("/orders", json=body, headers=user.headers)
    assert created.status_code == 201, created.text
    return await edge.settled(user, created.json()["id"])


async def change(edge: Edge, user: User, order_id: str, body: Json, **headers: str) -> httpx.Response:
    return await edge.rest.patch(f"/orders/{order_id}", json=body, headers=user.headers | headers)


async def cancel(edge: Edge, user: User, order_id: str, body: Json | None = None) -> httpx.Response:
    return await edge.rest.post(f"/orders/{order_id}:cancel", json=body or {}, headers=user.headers)


async def refund(edge: Edge, user: User, order_id: str, amount: int, key: str = "", why: str = "") -> httpx.Response:
    headers = {**user.headers, "idempotency-key": key or uuid.uuid4().hex}
    return await edge.rest.post(
        f"/orders/{order_id}:refund", json={"amount": amount, "description": why}, headers=headers
    )


async def read(edge: Edge, user: User, path: str) -> Json:
    answer = await edge.rest.get(path, headers=user.headers)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def money(edge: Edge, user: User) -> tuple[int, int, int]:
    """Balance, held and available."""
    account = await read(edge, user, f"/accounts/{user.id}")
    return int(account["balance"]), int(account["held"]), int(account["available"])


async def statement(edge: Edge, user: User) -> list[tuple[str, int, int]]:
    """Kind, and what came to the available and the held money, of each entry, oldest first."""
    entries = (await read(edge, user, f"/accounts/{user.id}/entries?page_size=100"))["entries"]
    return [(one["kind"], int(one["amount"]), int(one["held_amount"])) for one in reversed(entries)]


async def history(edge: Edge, user: User, order_id: str) -> list[tuple[str, str]]:
    """Status and cause of each change, oldest first."""
    changes = (await read(edge, user, f"/orders/{order_id}/history"))["changes"]
    assert [one["changed_at"] for one in changes] == sorted(one["changed_at"] for one in changes)
    return [(one["status"], one["cause"]) for one in changes]


# --- Held, and shipped


async def test_over_rest_money_is_held_until_an_admin_ships_the_order(edge: Edge, ida: User, admin: User) -> None:
    order = await order_of(edge, ida, amount=300, capture="MANUAL")
    assert (order["status"], order["capture"], order["paid_price"]) == ("AUTHORIZED", "MANUAL", "0")
    assert await money(edge, ida) == (MONEY, 300, MONEY - 300)

    shipped = await change(edge, admin, order["id"], {"status": "SHIPPED"}, **{"if-match": f'"{order["etag"]}"'})
    assert shipped.status_code == 200, shipped.text
    # It waits for the money, but not for ever.
    assert shipped.json()["status"] in ("AUTHORIZED", "SHIPPED")
    order = await edge.becomes(ida, order["id"], status="SHIPPED")

    assert (order["paid_price"], order["refunded_price"]) == ("300", "0")
    assert await money(edge, ida) == (MONEY - 300, 0, MONEY - 300)
    assert await statement(edge, ida) == [("DEPOSIT", MONEY, 0), ("HOLD", -300, 300), ("CAPTURE", 0, -300)]
    told = await history(edge, ida, order["id"])
    assert told[:2] == [("PENDING", "CREATED"), ("AUTHORIZED", "PAYMENT")]
    assert told[-1] == ("SHIPPED", "ADMIN")


async def test_over_grpc_whoever_watches_hears_of_it_and_the_stream_ends(edge: Edge, ida: User, admin: User) -> None:
    request = CreateOrderRequest(amount=300, capture=Order.MANUAL)
    order = await edge.orders.CreateOrder(request, metadata=ida.metadata())
    stream = edge.orders.WatchOrder(WatchOrderRequest(order_id=order.id), metadata=ida.metadata())
    heard: list[Order] = []
    async for now in stream:
        heard.append(now)
        if now.status == Order.AUTHORIZED and [one.status for one in heard].count(Order.AUTHORIZED) == 1:
            shipping = UpdateOrderRequest(order_id=order.id, status=Order.SHIPPED, etag=now.etag)
            await edge.orders.UpdateOrder(shipping, metadata=admin.metadata())
    assert (heard[-1].status, heard[-1].paid_price) == (Order.SHIPPED, 300)
    assert heard[-1] == await edge.orders.GetOrder(GetOrderRequest(order_id=order.id), metadata=ida.metadata())


async def test_a_paid_order_is_shipped_at_once(edge: Edge, ida: User, admin: User) -> None:
    order = await order_of(edge, ida, amount=300)
    shipped = await change(edge, admin, order["id"], {"status": "SHIPPED"})

    assert (shipped.status_code, shipped.json()["status"]) == (200, "SHIPPED")
    assert shipped.headers["etag"] == f'"{shipped.json()["etag"]}"'
    assert await history(edge, ida, order["id"]) == [("PENDING", "CREATED"), ("PAID", "PAYMENT"), ("SHIPPED", "ADMIN")]
    assert await money(edge, ida) == (MONEY - 300, 0, MONEY - 300)


# --- Canceled


@pytest.mark.parametrize("who", ["the owner", "an admin"])
async def test_a_paid_order_that_is_canceled_again_and_again_gives_its_money_back_once(
    who: str, edge: Edge, ida: User, admin: User
) -> None:
    order = await order_of(edge, ida, amount=300)
    caller = ida if who == "the owner" else admin
    answers = await asyncio.gather(*(cancel(edge, caller, order["id"]) for _ in range(10)))
    assert {(one.status_code, one.json()["status"], one.json()["cancel_reason"]) for one in answers} == {
        (200, "CANCELED", "REQUESTED")
    }
    await edge.becomes(ida, order["id"], refunded_price="300")
    again = await edge.orders.CancelOrder(CancelOrderRequest(order_id=order["id"]), metadata=caller.metadata())
    assert (again.status, again.paid_price, again.refunded_price) == (Order.CANCELED, 300, 300)

    assert await money(edge, ida) == (MONEY, 0, MONEY)
    assert await statement(edge, ida) == [("DEPOSIT", MONEY, 0), ("CHARGE", -300, 0), ("REFUND", 300, 0)]
    told = await history(edge, ida, order["id"])
    assert next(one for one in told if one[0] == "CANCELED") == ("CANCELED", "OWNER" if caller is ida else "ADMIN")


async def test_an_order_whose_money_is_held_gives_it_back(edge: Edge, ida: User) -> None:
    order = await order_of(edge, ida, amount=300, capture="MANUAL")
    canceled = await change(edge, ida, order["id"], {"status": "CANCELED"})
    assert (canceled.status_code, canceled.json()["cancel_reason"]) == (200, "REQUESTED"), canceled.text

    async def is_back() -> bool:
        return await money(edge, ida) == (MONEY, 0, MONEY)

    await eventually(is_back)
    assert await statement(edge, ida) == [("DEPOSIT", MONEY, 0), ("HOLD", -300, 300), ("RELEASE", 300, -300)]


async def unanswered(stack: RunningStack, user: User) -> int:
    """How many questions about a user's orders Payments has not answered."""
    connection = await asyncpg.connect(stack.database_urls["orders"])
    try:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM orders WHERE user_id = $1 AND asked_at IS NOT NULL", uuid.UUID(user.id)
        )
        return found
    finally:
        await connection.close()


@pytest.mark.parametrize("capture", ["AUTOMATIC", "MANUAL"])
async def test_however_canceling_and_paying_meet_all_the_money_is_there_afterwards(
    capture: str, edge: Edge, stack: RunningStack, ida: User
) -> None:
    async def create_and_cancel() -> Json:
        created = await edge.rest.post("/orders", json={"amount": 10, "capture": capture}, headers=ida.headers)
        canceled = await cancel(edge, ida, created.json()["id"])
        assert (canceled.status_code, canceled.json()["status"]) == (200, "CANCELED"), canceled.text
        answer: Json = created.json()
        return answer

    orders = await asyncio.gather(*(create_and_cancel() for _ in range(50)))

    async def all_answered() -> bool:
        return await unanswered(stack, ida) == 0

    await eventually(all_answered)
    assert await money(edge, ida) == (MONEY, 0, MONEY)
    for order in orders:
        now = await read(edge, ida, f"/orders/{order['id']}")
        assert (now["status"], now["refunded_price"]) == ("CANCELED", now["paid_price"])


# --- Refunded


async def test_parts_of_what_was_paid_come_back_by_key_and_never_more_than_all(
    edge: Edge, ida: User, admin: User
) -> None:
    order = await order_of(edge, ida, amount=300)
    key = uuid.uuid4().hex
    first = await refund(edge, admin, order["id"], 100, key, "one cup was broken")
    again = await refund(edge, admin, order["id"], 100, key, "one cup was broken")
    other = await refund(edge, admin, order["id"], 99, key, "one cup was broken")
    assert (first.status_code, again.status_code) == (200, 200), first.text
    assert (first.json(), again.headers["idempotency-replayed"]) == (again.json(), "true")
    assert_error(other, 409, 6, "IDEMPOTENCY_KEY_REUSED")
    await edge.becomes(ida, order["id"], refunded_price="100", status="PAID")

    assert_error(await refund(edge, admin, order["id"], 201), 400, 9, "REFUND_TOO_LARGE")
    request = RefundOrderRequest(order_id=order["id"], amount=200)
    await edge.orders.RefundOrder(request, metadata=admin.metadata(uuid.uuid4().hex))
    await edge.becomes(ida, order["id"], refunded_price="300", paid_price="300", status="PAID")
    assert_error(await refund(edge, admin, order["id"], 1), 400, 9, "REFUND_TOO_LARGE")

    assert await money(edge, ida) == (MONEY, 0, MONEY)
    moved = [("DEPOSIT", MONEY, 0), ("CHARGE", -300, 0), ("REFUND", 100, 0), ("REFUND", 200, 0)]
    assert await statement(edge, ida) == moved
    changes = (await read(edge, ida, f"/orders/{order['id']}/history"))["changes"]
    told = [(one["refunded"], one["cause"], one["description"], one["actor_id"]) for one in changes]
    assert told[-2:] == [("100", "ADMIN", "one cup was broken", admin.id), ("200", "ADMIN", "", admin.id)]


async def test_of_refunds_at_once_only_as_many_succeed_as_there_is_money(edge: Edge, ida: User, admin: User) -> None:
    order = await order_of(edge, ida, amount=300)
    answers = await asyncio.gather(*(refund(edge, admin, order["id"], 100) for _ in range(10)))

    assert sorted(one.status_code for one in answers) == [200] * 3 + [400] * 7
    await edge.becomes(ida, order["id"], refunded_price="300")
    assert await money(edge, ida) == (MONEY, 0, MONEY)


async def test_canceling_gives_back_what_is_left(edge: Edge, ida: User, admin: User) -> None:
    order = await order_of(edge, ida, amount=300)
    assert (await refund(edge, admin, order["id"], 100)).status_code == 200
    assert (await cancel(edge, ida, order["id"])).status_code == 200
    await edge.becomes(ida, order["id"], refunded_price="300")

    assert await money(edge, ida) == (MONEY, 0, MONEY)
    refunded = sorted(amount for kind, amount, _ in await statement(edge, ida) if kind == "REFUND")
    assert refunded == [100, 200]


# --- Forbidden


async def test_shipping_and_refunding_are_for_admins(edge: Edge, ida: User) -> None:
    order = await order_of(edge, ida, amount=300)
    for answer in (
        await change(edge, ida, order["id"], {"status": "SHIPPED"}),
        await change(edge, ida, order["id"], {"status": "SHIPPED", "update_mask": "status"}),
        await refund(edge, ida, order["id"], 100),
    ):
        assert_error(answer, 403, 7, "ADMIN_ONLY")
    with refused(grpc.StatusCode.PERMISSION_DENIED, "ADMIN_ONLY"):
        request = UpdateOrderRequest(order_id=order["id"], status=Order.SHIPPED)
        await edge.orders.UpdateOrder(request, metadata=ida.metadata())
    with refused(grpc.StatusCode.PERMISSION_DENIED, "ADMIN_ONLY"):
        refunding = RefundOrderRequest(order_id=order["id"], amount=1)
        await edge.orders.RefundOrder(refunding, metadata=ida.metadata("k"))
    assert await read(edge, ida, f"/orders/{order['id']}") == order


async def test_an_order_of_somebody_else_is_not_there(edge: Edge, ida: User, alice: User) -> None:
    order = await order_of(edge, ida, amount=300)
    for order_id in (order["id"], new_id()):
        for answer in (
            await change(edge, alice, order_id, {"description": "mine"}),
            await change(edge, alice, order_id, {"status": "CANCELED"}),
            await cancel(edge, alice, order_id),
            await edge.rest.get(f"/orders/{order_id}/history", headers=alice.headers),
        ):
            assert_error(answer, 404, 5, "ORDER_NOT_FOUND")
        for call in (
            edge.orders.UpdateOrder(
                UpdateOrderRequest(order_id=order_id, description="mine"), metadata=alice.metadata()
            ),
            edge.orders.CancelOrder(CancelOrderRequest(order_id=order_id), metadata=alice.metadata()),
            edge.orders.ListOrderHistory(ListOrderHistoryRequest(order_id=order_id), metadata=alice.metadata()),
        ):
            with refused(grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND"):
                await call
    assert await read(edge, ida, f"/orders/{order['id']}") == order


async def test_what_is_over_stays_as_it_is(edge: Edge, ida: User, admin: User) -> None:
    shipped = await order_of(edge, ida, amount=300)
    assert (await change(edge, admin, shipped["id"], {"status": "SHIPPED"})).status_code == 200
    canceled = await order_of(edge, ida, amount=MONEY)
    held = await order_of(edge, ida, amount=10, capture="MANUAL")
    before = [await read(edge, ida, f"/orders/{order['id']}") for order in (shipped, canceled, held)]

    assert_error(await cancel(edge, ida, shipped["id"]), *NOT_ALLOWED)
    for body in ({"status": "CANCELED"}, {"description": "x"}):
        assert_error(await change(edge, admin, shipped["id"], body), *NOT_ALLOWED)
    for body in ({"status": "SHIPPED"}, {"description": "x"}):
        assert_error(await change(edge, admin, canceled["id"], body), *NOT_ALLOWED)
    for order in (canceled, held):
        assert_error(await refund(edge, admin, order["id"], 1), *NOT_ALLOWED)

    assert [await read(edge, ida, f"/orders/{order['id']}") for order in (shipped, canceled, held)] == before


async def test_a_refund_needs_a_key_and_an_amount(edge: Edge, ida: User, admin: User) -> None:
    order = await order_of(edge, ida, amount=300)
    path = f"/orders/{order['id']}:refund"
    keyless = await edge.rest.post(path, json={"amount": 1}, headers=admin.headers)
    assert_error(keyless, 400, 3, "IDEMPOTENCY_KEY_REQUIRED")
    for amount in (0, -1, 10**12 + 1):
        assert_error(await refund(edge, admin, order["id"], amount), 400, 3, "INVALID_REQUEST")
    assert_error(await refund(edge, admin, new_id(), 1), 404, 5, "ORDER_NOT_FOUND")


# --- Etags and masks


async def test_whoever_has_read_something_older_changes_nothing(edge: Edge, ida: User) -> None:
    order = await order_of(edge, ida, amount=300, description="tea")
    answer = await edge.rest.get(f"/orders/{order['id']}", headers=ida.headers)
    etag = answer.headers["etag"]
    assert etag == f'"{answer.json()["etag"]}"'

    changed = await change(edge, ida, order["id"], {"description": "green tea"}, **{"if-match": etag})
    assert (changed.status_code, changed.json()["description"]) == (200, "green tea"), changed.text
    assert changed.headers["etag"] == f'"{changed.json()["etag"]}"' != etag
    stale = (409, 10, "STALE_ETAG")
    assert_error(await change(edge, ida, order["id"], {"description": "x"}, **{"if-match": etag}), *stale)
    assert_error(await change(edge, ida, order["id"], {"description": "x", "etag": order["etag"]}), *stale)
    assert_error(await cancel(edge, ida, order["id"], {"etag": order["etag"]}), *stale)
    assert_error(await change(edge, ida, order["id"], {"description": "x", "etag": "no such etag"}), *stale)
    with refused(grpc.StatusCode.ABORTED, "STALE_ETAG"):
        request = CancelOrderRequest(order_id=order["id"], etag=order["etag"])
        await edge.orders.CancelOrder(request, metadata=ida.metadata())
    assert await read(edge, ida, f"/orders/{order['id']}") == changed.json()

    canceled = await cancel(edge, ida, order["id"], {"etag": changed.json()["etag"]})
    assert (canceled.status_code, canceled.json()["status"]) == (200, "CANCELED"), canceled.text


async def test_of_those_who_change_the_same_state_at_once_one_wins(edge: Edge, ida: User) -> None:
    order = await order_of(edge, ida, amount=300)
    changes = [change(edge, ida, order["id"], {"description": str(n), "etag": order["etag"]}) for n in range(20)]
    answers = await asyncio.gather(*changes)

    assert sorted(one.status_code for one in answers) == [200] + [409] * 19
    [winner] = [one.json() for one in answers if one.status_code == 200]
    assert await read(edge, ida, f"/orders/{order['id']}") == winner


@pytest.mark.parametrize(
    ("body", "description"),
    [
        ({}, "tea"),
        ({"description": "coffee"}, "coffee"),
        ({"description": ""}, ""),
        ({"description": "coffee", "update_mask": "description"}, "coffee"),
        ({"update_mask": "description"}, ""),
        ({"description": "coffee", "update_mask": ""}, "coffee"),
        ({"description": "coffee", "unknown": 1, "total_price": 1}, "coffee"),
    ],
)
async def test_what_is_not_named_stays(body: Json, description: str, edge: Edge, ida: User) -> None:
    order = await order_of(edge, ida, amount=300, description="tea")
    changed = await change(edge, ida, order["id"], body)

    assert changed.status_code == 200, changed.text
    differing = {name for name, value in changed.json().items() if order[name] != value}
    assert changed.json()["description"] == description
    assert differing - {"etag", "updated_at"} == ({"description"} if description != "tea" else set())


@pytest.mark.parametrize(
    "body",
    [
        {"status": "PAID"},
        {"status": "PENDING"},
        {"status": "STATUS_UNSPECIFIED"},
        {"status": 9},
        {"update_mask": "status"},
        {"update_mask": "total_price"},
        {"update_mask": "description,user_id", "description": "x"},
        {"description": "x" * 501},
        {"etag": "x" * 65},
    ],
)
async def test_a_change_that_is_none_is_refused(body: Json, edge: Edge, ida: User, admin: User) -> None:
    order = await order_of(edge, ida, amount=300)
    callers: Sequence[User] = (ida, admin)
    for caller in callers:
        assert_error(await change(edge, caller, order["id"], body), 400, 3, "INVALID_REQUEST")
    assert await read(edge, ida, f"/orders/{order['id']}") == order
