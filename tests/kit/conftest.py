"""Fixtures: a topic for a test's consumer, a look at what JetStream has, redelivery at once."""

import asyncio
from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client

from kit.bus import Stream
from kit.consumption import Consumer
from kit.db import Database
from tests.kit.topics import Topic
from tests.support import RunningStack, unique


@pytest.fixture
async def topic(stack: RunningStack, payments_db: Database) -> AsyncIterator[Topic]:
    name = unique()
    topic = Topic(
        stack.nats_url,
        payments_db,
        Stream(name, (f"{name}.>",), max_age=600),
        f"{name}.made",
        Consumer(f"{name}-consumer", name, (f"{name}.made",)),
        [],
        [],
    )
    yield topic
    for bus in topic.buses:
        await bus.stop_consuming()
        await bus.close()
    await asyncio.gather(*topic.tasks)


@pytest.fixture
async def client(stack: RunningStack) -> AsyncIterator[Client]:
    """A plain client, to look at what JetStream has."""
    client = await nats.connect(stack.nats_url)
    yield client
    await client.drain()


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> tuple[float, ...]:
    """Redelivery at once: the real one takes minutes until a message is given up."""
    backoff = (0.01, 0.02, 0.02)
    monkeypatch.setattr("kit.consumption.BACKOFF", backoff)
    return backoff
