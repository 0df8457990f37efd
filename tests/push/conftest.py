"""Instances of push in the tests' own process, on a NATS server that nobody else uses."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import time

import pytest
from prometheus_client import REGISTRY

from gozon.orders.v1.events_pb2 import OrderPaid
from gozon.orders.v1.orders_pb2 import Order
from kit.auth import TokenVerifier
from kit.bus import Bus
from kit.events import Event
from kit.ids import new_id
from services.push.gateway import Gateway, Limits
from services.push.hub import MEMORY_SECONDS, Hub
from services.topology import ORDER_PAID, PUSH, STREAMS
from tests.edge.conftest import Issuer
from tests.support import NatsServer, eventually, free_port


@dataclass
class Push:
    """One instance."""

    url: str
    hub: Hub
    gateway: Gateway
    verifier: TokenVerifier
    bus: Bus
    tasks: list["asyncio.Task[None]"]

    async def stop(self) -> None:
        """Ends it as SIGTERM does, but for the wait."""
        await self.gateway.stop()
        await self.bus.stop_consuming()
        await self.bus.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


NewPush = Callable[..., Awaitable[Push]]
Publish = Callable[[Sequence[Event]], Awaitable[None]]


@pytest.fixture
def issuer() -> Issuer:
    """Whose tokens are accepted."""
    return Issuer()


@pytest.fixture
def keys(issuer: Issuer) -> list[dict[str, str]]:
    """What Users publishes; tests may change it."""
    return [issuer.jwk]


@pytest.fixture
async def new_push(nats_server: NatsServer, keys: list[dict[str, str]]) -> AsyncIterator[NewPush]:
    """Starts an instance, with limits of the test's choice, and waits until it is ready."""
    pushes = []

    async def fetch() -> list[dict[str, str]]:
        return keys

    async def make(limits: Limits = Limits(), max_bytes: int = 10**8, origins: str = "https://shop.example") -> Push:  # noqa: B008 - frozen
        hub, verifier = Hub(max_bytes, time), TokenVerifier(fetch)
        gateway, port = Gateway(hub, verifier, frozenset({origins}), limits), free_port()
        bus = Bus(nats_server.url, (*STREAMS, PUSH), ())
        await bus.connect()
        await gateway.start(f"127.0.0.1:{port}")
        running = (bus.follow(PUSH, MEMORY_SECONDS, hub), gateway.sweep(), verifier.refresh_now_and_then())
        tasks = [asyncio.create_task(one) for one in running]
        pushes.append(Push(f"http://127.0.0.1:{port}", hub, gateway, verifier, bus, tasks))

        async def is_ready() -> bool:
            return hub.is_ready

        await eventually(is_ready)
        return pushes[-1]

    yield make
    for push in pushes:
        with suppress(Exception):
            await push.stop()


@pytest.fixture
async def publish(nats_server: NatsServer) -> AsyncIterator[Publish]:
    """Publishes events as services do, until all of them are stored."""
    bus = Bus(nats_server.url, STREAMS, ())
    await bus.connect()

    async def until_stored(events: Sequence[Event]) -> None:
        left = list(events)
        while left:
            stored = await bus.publish(left)
            left = [event for event in left if event.id not in stored]
            await asyncio.sleep(0.02 if left else 0)

    yield until_stored
    await bus.close()


def paid(user_id: str, number: int = 0, filling: int = 0) -> Event:
    """Makes the event of a paid order, whose price is a number and whose description may be long."""
    order = Order(
        id=new_id(),
        user_id=user_id,
        status=Order.PAID,
        capture=Order.AUTOMATIC,
        total_price=number,
        currency="RUB",
        description="x" * filling,
    )
    return Event(new_id(), ORDER_PAID, OrderPaid(order=order).SerializeToString(), "")


def metric(name: str, **labels: str) -> float:
    """Returns what a metric of this process is now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
