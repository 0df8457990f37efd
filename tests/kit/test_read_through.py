"""kit.read_through on a real Valkey and on a dead one: one reads for many, and nobody gets what was before."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gozon.shop.v1.shop_pb2 import Inventory
from kit.cache import Cache
from kit.errors import Unavailable
from kit.read_through import ReadThrough
from tests.support import RunningStack, eventually, free_port, unique


class Source:
    """Something slow that changes."""

    def __init__(self) -> None:
        self.now = "old"
        self.reads = 0
        self.answers = asyncio.Event()

    async def read(self) -> Inventory:
        """Reads what is so now, and returns it when it may."""
        self.reads += 1
        found = Inventory(user_id=self.now)
        await self.answers.wait()
        return found

    async def is_read(self, times: int = 1) -> None:
        """Waits until it has been asked so often."""

        async def so() -> bool:
            return self.reads >= times

        await eventually(so)


@pytest.fixture
async def cache(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cache]:
    # Fifty connections at once may take longer on a busy machine.
    monkeypatch.setattr("kit.cache.TIMEOUT_SECONDS", 5)
    cache = Cache(stack.redis_url, 60)
    yield cache
    await cache.close()


@pytest.fixture
async def dead_cache() -> AsyncIterator[Cache]:
    cache = Cache(f"redis://127.0.0.1:{free_port()}/0", 60)
    yield cache
    await cache.close()


async def test_of_fifty_who_ask_at_once_one_reads_and_later_nobody(cache: Cache) -> None:
    source, key, through = Source(), unique(), ReadThrough(cache, Inventory)
    source.answers.set()
    found = await asyncio.gather(*(through.get(key, source.read) for _ in range(50)))
    found.append(await ReadThrough(cache, Inventory).get(key, source.read))
    assert found == [Inventory(user_id="old")] * 51
    assert source.reads == 1


async def test_without_a_cache_those_who_come_during_a_read_share_the_next(dead_cache: Cache) -> None:
    source, through = Source(), ReadThrough(dead_cache, Inventory)
    first = asyncio.create_task(through.get("k", source.read))
    await source.is_read()
    source.now = "new"
    others = [asyncio.create_task(through.get("k", source.read)) for _ in range(50)]
    await asyncio.sleep(0)
    source.answers.set()
    assert (await first).user_id == "old"
    assert {(await other).user_id for other in others} == {"new"}
    assert source.reads == 2


async def test_who_asks_after_a_change_does_not_join_who_read_before_it(cache: Cache) -> None:
    source, key, through = Source(), unique(), ReadThrough(cache, Inventory)
    before = asyncio.create_task(through.get(key, source.read))
    await source.is_read()
    await cache.forget([key])
    source.now = "new"
    after = asyncio.create_task(through.get(key, source.read))
    await asyncio.sleep(0)
    source.answers.set()
    assert [(await before).user_id, (await after).user_id] == ["old", "new"]
    # Nor was it stored.
    assert (await ReadThrough(cache, Inventory).get(key, source.read)).user_id == "new"


async def test_who_leaves_takes_the_answer_from_nobody(cache: Cache) -> None:
    source, key, through = Source(), unique(), ReadThrough(cache, Inventory)
    first = asyncio.create_task(through.get(key, source.read))
    await source.is_read()
    second = asyncio.create_task(through.get(key, source.read))
    first.cancel()
    source.answers.set()
    assert (await second).user_id == "old"
    assert source.reads == 1


async def test_an_error_is_for_those_who_share_it_and_not_for_the_next(cache: Cache) -> None:
    source, key, through = Source(), unique(), ReadThrough(cache, Inventory)
    source.answers.set()

    async def fails() -> Inventory:
        raise Unavailable

    results = await asyncio.gather(*(through.get(key, fails) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    assert (await through.get(key, source.read)).user_id == "old"


async def test_what_took_too_long_to_read_is_not_stored(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.read_through.MAX_READ_SECONDS", 0)
    source, key, through = Source(), unique(), ReadThrough(cache, Inventory)
    source.answers.set()
    for _ in range(2):
        await through.get(key, source.read)
    assert source.reads == 2


async def test_garbage_is_nothing_and_goes(cache: Cache, stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.cache.FORGET_SECONDS", 1)
    source, key, through = Source(), unique(), ReadThrough(cache, Inventory)
    source.answers.set()
    redis = Redis.from_url(stack.redis_url)
    await redis.set(key, b"\xff")

    async def stored() -> bool:
        await through.get(key, source.read)
        return await redis.get(key) == Inventory(user_id="old").SerializeToString()

    await eventually(stored)
    await redis.aclose()
