"""How long one order takes from CreateOrder to PAID while nothing else happens, seen as a client sees it.

The clock starts before CreateOrder is sent and ends when WatchOrder, called as soon as the answer is there, says
PAID: as a gRPC stream, or as server-sent events over REST.
"""

import asyncio
import http.client
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, Order, WatchOrderRequest
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from tests.bench.asked import JSON, PROTO
from tests.bench.people import Person

WARM_UP = 20
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Of unloaded orders, in milliseconds."""

    orders: int
    median_ms: float
    p99_ms: float


async def over_grpc(target: str, person: Person, orders: int) -> Latency:
    """Measures one order after the other. Errors: grpc.RpcError, RuntimeError when one is not PAID."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = OrdersServiceStub(channel)
        request = CreateOrderRequest.FromString(PROTO)

        async def one() -> float:
            started = time.perf_counter()
            order = await stub.CreateOrder(request, metadata=person.metadata, timeout=PATIENCE_SECONDS)
            watch = stub.WatchOrder(
                WatchOrderRequest(order_id=order.id), metadata=person.metadata, timeout=PATIENCE_SECONDS
            )
            async for seen in watch:
                if seen.status != Order.PENDING:
                    took = time.perf_counter() - started
                    watch.cancel()
                    _must_be_paid(order.id, Order.Status.Name(seen.status))
                    return took
            raise RuntimeError(f"WatchOrder ended before {order.id} was PAID")

        return await _measure(one, orders)


async def over_rest(target: str, person: Person, orders: int) -> Latency:
    """Measures one order after the other. Errors: RuntimeError when one is refused or not PAID."""
    headers = {"authorization": f"Bearer {person.token}", "content-type": "application/json"}
    creating = http.client.HTTPConnection(target, timeout=PATIENCE_SECONDS)

    def one() -> float:
        # A stream has its connection for itself; it stands before the clock starts.
        watching = http.client.HTTPConnection(target, timeout=PATIENCE_SECONDS)
        watching.connect()
        started = time.perf_counter()
        creating.request("POST", "/orders", JSON, headers)
        answer = creating.getresponse()
        body = answer.read()
        if answer.status != http.client.CREATED:
            raise RuntimeError(f"POST /orders: {answer.status} {body.decode()}")
        order_id = json.loads(body)["id"]
        watching.request("GET", f"/orders/{order_id}:watch", headers=headers)
        for line in watching.getresponse():
            if line.startswith(b"data:") and (status := json.loads(line[5:])["status"]) != "PENDING":
                took = time.perf_counter() - started
                watching.close()
                _must_be_paid(order_id, status)
                return took
        raise RuntimeError(f"the events ended before {order_id} was PAID")

    return await _measure(lambda: asyncio.to_thread(one), orders)


async def _measure(one: Callable[[], Awaitable[float]], orders: int) -> Latency:
    for _ in range(WARM_UP):
        await one()
    return _summary([await one() for _ in range(orders)])


def _summary(seconds: Sequence[float]) -> Latency:
    p99 = sorted(seconds)[len(seconds) * 99 // 100]
    return Latency(len(seconds), statistics.median(seconds) * 1e3, p99 * 1e3)


def _must_be_paid(order_id: str, status: str) -> None:
    if status != "PAID":
        raise RuntimeError(f"the order {order_id} is {status}, not PAID")
