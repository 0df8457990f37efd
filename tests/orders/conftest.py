"""Fixtures of Orders: the service on a database of the test's own, with an outbox that keeps its messages."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from kit.bus import Bus
from kit.cache import Cache
from kit.db import Database
from kit.outbox import Outbox
from services.orders.cached import CachedOrders
from services.orders.catalog import Catalog
from services.orders.service import OrderService
from services.orders.settlement import Settlement
from services.orders.sweep import Sweeper
from services.orders.watch import Watchers
from tests.support import RunningStack, disconnected_bus


@pytest.fixture
async def cache(stack: RunningStack) -> AsyncIterator[Cache]:
    cache = Cache(stack.redis_url, 60)
    yield cache
    await cache.close()


@pytest.fixture
def outbox(orders_db: Database) -> Outbox:
    return Outbox(orders_db, disconnected_bus())


@pytest.fixture
async def bus(stack: RunningStack) -> AsyncIterator[Bus]:
    """A bus by which watchers can be told."""
    bus = Bus(stack.nats_url, [], [])
    await bus.connect()
    yield bus
    await bus.close()


@pytest.fixture
def catalog(orders_db: Database) -> Catalog:
    return Catalog(orders_db)


@pytest.fixture
async def service(
    orders_db: Database, outbox: Outbox, cache: Cache, bus: Bus, catalog: Catalog
) -> AsyncIterator[OrderService]:
    service = OrderService(orders_db, outbox, CachedOrders(cache), Watchers(bus), catalog)
    batches = asyncio.create_task(service.batcher.run())
    yield service
    await service.batcher.drain()
    await batches


@pytest.fixture
def settlement(orders_db: Database, outbox: Outbox, cache: Cache) -> Settlement:
    return Settlement(orders_db, outbox, CachedOrders(cache))


async def nobody_works() -> bool:
    return False


@pytest.fixture
def sweeper(orders_db: Database, outbox: Outbox) -> Sweeper:
    return Sweeper(orders_db, outbox, 86_400, 60, nobody_works)
