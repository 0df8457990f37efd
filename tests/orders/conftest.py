"""Fixtures of Orders: the service on a database of the test's own, with an outbox that keeps its messages."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from kit.cache import Cache
from kit.db import Database
from kit.outbox import Outbox
from services.orders.service import OrderService
from services.orders.watch import Watchers
from tests.support import RunningStack, disconnected_bus


@pytest.fixture
async def cache(stack: RunningStack) -> AsyncIterator[Cache]:
    cache = Cache(stack.redis_url, 60)
    yield cache
    await cache.close()


@pytest.fixture
async def service(orders_db: Database, cache: Cache) -> AsyncIterator[OrderService]:
    bus = disconnected_bus()
    service = OrderService(orders_db, Outbox(orders_db, bus), cache, Watchers(bus))
    batches = asyncio.create_task(service.batcher.run())
    yield service
    await service.batcher.drain()
    await batches
