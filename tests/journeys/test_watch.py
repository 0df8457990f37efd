"""Waiting for an order to be paid instead of asking again and again."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, Order, WatchOrderRequest
from kit.ids import new_id
from tests.conftest import NewUser
from tests.support import Edge, User, refused


@pytest.fixture(scope="module")
async def dora(edge: Edge, new_user: NewUser) -> User:
    """A user with money."""
    user = await new_user()
    await edge.deposit(user, 1_000_000)
    return user


async def test_over_grpc_a_watcher_hears_that_the_order_is_paid(edge: Edge, dora: User) -> None:
    for _ in range(5):
        order = await edge.orders.CreateOrder(CreateOrderRequest(amount=10), metadata=dora.metadata())
        stream = edge.orders.WatchOrder(WatchOrderRequest(order_id=order.id), metadata=dora.metadata())
        heard = []
        async for change in stream:
            heard.append(change)
            if change.status == Order.PAID:
                break
        stream.cancel()
        assert [change.id for change in heard] == [order.id] * len(heard)
        # The first one tells how it is now: the order may have been paid before anybody watched.
        assert [change.status for change in heard] in ([Order.PENDING, Order.PAID], [Order.PAID])


async def test_over_grpc_the_stream_ends_when_the_order_is_canceled(edge: Edge, dora: User) -> None:
    order = await edge.orders.CreateOrder(CreateOrderRequest(amount=10**12), metadata=dora.metadata())
    stream = edge.orders.WatchOrder(WatchOrderRequest(order_id=order.id), metadata=dora.metadata())
    heard = [change async for change in stream]
    assert heard[-1].status == Order.CANCELED
    assert heard[-1].cancel_reason == Order.INSUFFICIENT_FUNDS


async def events(edge: Edge, user: User, order_id: str) -> AsyncIterator[dict[str, Any]]:
    """Yields the server-sent events of an order."""
    async with edge.rest.stream("GET", f"/orders/{order_id}:watch", headers=user.headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        async for line in answer.aiter_lines():
            if line:
                assert line.startswith("data: "), line
                yield json.loads(line.removeprefix("data: "))


async def test_over_rest_changes_come_as_server_sent_events(edge: Edge, dora: User) -> None:
    created = await edge.rest.post("/orders", json={"amount": 10}, headers=dora.headers)
    changes = events(edge, dora, created.json()["id"])
    heard = []
    async for change in changes:
        heard.append(change["status"])
        if change["status"] == "PAID":
            break
    await changes.aclose()  # type: ignore[attr-defined]
    assert heard in (["PENDING", "PAID"], ["PAID"])


async def test_over_rest_the_events_end_when_the_order_is_canceled(edge: Edge, dora: User) -> None:
    created = await edge.rest.post("/orders", json={"amount": 10**12}, headers=dora.headers)
    heard = [change async for change in events(edge, dora, created.json()["id"])]
    assert (heard[-1]["status"], heard[-1]["cancel_reason"]) == ("CANCELED", "INSUFFICIENT_FUNDS")


async def test_many_watch_many_orders_at_once(edge: Edge, dora: User) -> None:
    async def create_and_watch() -> None:
        order = await edge.orders.CreateOrder(CreateOrderRequest(amount=10), metadata=dora.metadata())
        stream = edge.orders.WatchOrder(WatchOrderRequest(order_id=order.id), metadata=dora.metadata())
        async for change in stream:
            assert change.id == order.id
            if change.status == Order.PAID:
                break
        stream.cancel()

    await asyncio.gather(*(create_and_watch() for _ in range(30)))


async def test_the_order_of_somebody_else_can_not_be_watched(edge: Edge, alice: User, dora: User) -> None:
    order = await edge.orders.CreateOrder(CreateOrderRequest(amount=10), metadata=dora.metadata())
    for order_id in (order.id, new_id()):
        with refused(grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND"):
            stream = edge.orders.WatchOrder(WatchOrderRequest(order_id=order_id), metadata=alice.metadata())
            await stream.read()
        answer = await edge.rest.get(f"/orders/{order_id}:watch", headers=alice.headers)
        assert answer.status_code == 404
