"""Watchers on a real NATS."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from kit.bus import Bus
from kit.ids import new_id
from services.orders.watch import TooManyWatchers, Watchers
from tests.support import RunningStack


@pytest.fixture
async def watchers(stack: RunningStack) -> AsyncIterator[Watchers]:
    bus = Bus(stack.nats_url, [], [])
    await bus.connect()
    yield Watchers(bus)
    await bus.close()


async def test_nobody_watches_more_than_a_hundred_orders_at_once(watchers: Watchers) -> None:
    alice, bob = new_id(), new_id()
    async with AsyncExitStack() as first:
        async with AsyncExitStack() as others:
            await first.enter_async_context(watchers.watching(new_id(), alice))
            for _ in range(99):
                await others.enter_async_context(watchers.watching(new_id(), alice))
            with pytest.raises(TooManyWatchers):
                await others.enter_async_context(watchers.watching(new_id(), alice))
            await others.enter_async_context(watchers.watching(new_id(), bob))
        async with watchers.watching(new_id(), alice):
            pass
