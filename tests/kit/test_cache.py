"""kit.cache on a real Valkey, on a dead one and on one that says nothing: never an error."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from kit.cache import Cache
from kit.errors import Unavailable
from tests.support import RunningStack, eventually, free_port, unique
from tests.valkey import ValkeyServer


@pytest.fixture
async def cache(stack: RunningStack) -> AsyncIterator[Cache]:
    cache = Cache(stack.redis_url, 60)
    yield cache
    await cache.close()


@pytest.fixture
async def valkey() -> AsyncIterator[ValkeyServer]:
    server = ValkeyServer()
    await server.start()
    yield server
    await server.kill()


class BlackHole:
    """A server that takes connections and never says a word."""

    def __init__(self) -> None:
        self.port = free_port()
        self.connections = 0
        self._open: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "BlackHole":
        self._server = await asyncio.start_server(self._swallow, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.close()
        await self._server.wait_closed()

    async def _swallow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.append(writer)
        await reader.read()


async def test_what_was_stored_is_found_and_expires_by_itself(cache: Cache, stack: RunningStack) -> None:
    key = unique()
    assert await cache.get(key) is None
    await cache.fill({key: b"value"})
    assert await cache.get(key) == b"value"
    redis = Redis.from_url(stack.redis_url)
    assert 0 < await redis.ttl(key) <= 60
    await redis.aclose()


async def test_what_is_there_is_not_stored_again(cache: Cache) -> None:
    keys = [unique() for _ in range(3)]
    await cache.fill({keys[0]: b"first"})
    await cache.fill(dict.fromkeys(keys, b"second"))
    assert [await cache.get(key) for key in keys] == [b"first", b"second", b"second"]
    await cache.fill({})


async def test_what_is_about_to_change_is_forgotten_and_nobody_stores_it_for_a_while(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.cache.FORGET_SECONDS", 1)
    old, absent = unique(), unique()
    await cache.fill({old: b"old"})
    await cache.forget([old, absent])
    for key in (old, absent):
        # Whoever read it before the commit.
        await cache.fill({key: b"old"})
        assert await cache.get(key) is None

    async def filled() -> bool:
        await cache.fill({old: b"new"})
        return await cache.get(old) == b"new"

    await eventually(filled)
    await cache.forget([])


async def test_what_could_not_be_forgotten_is_forgotten_when_the_cache_is_back(
    cache: Cache, stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.cache.PROBE_SECONDS", 0.05)
    monkeypatch.setattr("kit.cache.FORGET_AGAIN_SECONDS", 0.05)
    key = unique()
    await cache.fill({key: b"old"})
    redis = Redis.from_url(stack.redis_url)
    await redis.client_pause(300, all=False)
    await cache.forget([key])
    # Not by whoever forgot it, and soon by nobody.
    assert await cache.get(key) is None

    async def forgotten() -> bool:
        return await redis.get(key) == b""

    await eventually(forgotten)
    await redis.aclose()


USES: list[Callable[[Cache], Awaitable[object]]] = [
    lambda cache: cache.get("k"),
    lambda cache: cache.fill({"k": b"v", "l": b"w"}),
    lambda cache: cache.forget(["k"]),
    lambda cache: cache.claim("k", 60),
    lambda cache: cache.release("k"),
]
"""Everything a service does with its cache, and what may fail."""


async def fails_softly(url: str) -> None:
    """Whatever is asked first of this cache is answered as by an empty one."""
    for use in USES:
        cache = Cache(url, 60)
        assert await use(cache) in (None, False, True)
        assert await cache.get("k") is None
        await cache.close()


async def test_a_cache_that_was_restarted_is_told_at_once_by_who_had_connections_to_the_old_one(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.cache.TIMEOUT_SECONDS", 5)
    cache = Cache(valkey.url, 60)
    await asyncio.gather(*(cache.get(unique()) for _ in range(5)))
    await valkey.kill()
    await valkey.start()
    assert await asyncio.gather(*(cache.forget([unique()]) for _ in range(5))) == [True] * 5
    await cache.close()


async def test_a_dead_cache_is_an_empty_cache() -> None:
    await fails_softly(f"redis://:password@127.0.0.1:{free_port()}/0")


async def test_a_wrong_password_is_an_empty_cache(stack: RunningStack) -> None:
    await fails_softly(f"redis://:wrong@{stack.redis_url.rpartition('@')[2]}")


async def test_a_cache_that_says_nothing_is_an_empty_cache() -> None:
    async with BlackHole() as hole:
        await fails_softly(f"redis://127.0.0.1:{hole.port}/0")
        assert hole.connections == len(USES)


async def test_after_a_failure_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.cache.PROBE_SECONDS", 3600)
    async with BlackHole() as hole:
        cache = Cache(f"redis://127.0.0.1:{hole.port}/0", 60)
        for _ in range(100):
            for use in USES:
                await use(cache)
        await cache.close()
        assert hole.connections == 1


async def test_it_is_asked_whether_it_answers_and_used_again_when_it_does(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.cache.PROBE_SECONDS", 0.05)
    cache = Cache(valkey.url, 60)
    await cache.fill({"k": b"v"})
    valkey.freeze()
    assert await cache.get("k") is None
    valkey.thaw()

    async def answers() -> bool:
        return await cache.get("k") == b"v"

    await eventually(answers)
    await cache.close()


async def test_one_that_was_killed_is_told_of_changes_as_soon_as_it_is_back(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.cache.PROBE_SECONDS", 3600)
    monkeypatch.setattr("kit.cache.FORGET_AGAIN_SECONDS", 3600)
    cache = Cache(valkey.url, 60)
    await valkey.kill()
    assert await cache.get("k") is None
    assert not await cache.forget(["k"])
    await valkey.start()
    assert await cache.forget(["l"])
    redis = Redis.from_url(valkey.url)
    # With what it could not be told before.
    assert [await redis.get("k"), await redis.get("l")] == [b"", b""]
    await redis.aclose()
    await cache.close()


async def after_an_outage(valkey: ValkeyServer) -> tuple[Cache, Redis]:
    """A cache that is back, and has yet to be told of k, m and l, of which l is the newest."""
    cache = Cache(valkey.url, 60)
    await valkey.kill()
    for key in ("k", "l", "m", "l"):
        assert not await cache.forget([key])
    await valkey.start()
    return cache, Redis.from_url(valkey.url)


async def test_what_a_frozen_cache_stores_when_it_is_back_is_forgotten(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.cache.PROBE_SECONDS", 0.05)
    monkeypatch.setattr("kit.cache.FORGET_AGAIN_SECONDS", 0.05)
    reader = Cache(valkey.url, 60)
    await reader.get("k")
    valkey.freeze()
    # By who read it before a change that was told before; what is sent waits in the connection.
    await reader.fill({"k": b"old"})
    valkey.thaw()

    async def is_forgotten() -> bool:
        redis = Redis.from_url(valkey.url)
        value = await redis.get("k")
        await redis.aclose()
        return bool(value == b"")

    await eventually(is_forgotten)
    await reader.close()


async def test_after_an_outage_nobody_waits_until_all_that_waited_is_told(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.cache.PROBE_SECONDS", 3600)
    monkeypatch.setattr("kit.cache.FORGET_AGAIN_SECONDS", 3600)
    monkeypatch.setattr("kit.cache.FORGET_BATCH", 2)
    cache, redis = await after_an_outage(valkey)
    assert await cache.forget(["n"])
    assert await redis.mget("k", "l", "m", "n") == [None, b"", None, b""]
    assert await cache.forget(["o", "p", "q"])
    assert await redis.mget("k", "m", "o", "p", "q") == [None, b"", b"", b"", b""]
    await redis.aclose()
    await cache.close()


async def test_after_an_outage_all_that_waited_is_told_a_few_at_a_time(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.cache.PROBE_SECONDS", 3600)
    monkeypatch.setattr("kit.cache.FORGET_BATCH", 2)
    cache, redis = await after_an_outage(valkey)

    async def all_are_told() -> bool:
        return await redis.mget("k", "l", "m") == [b""] * 3

    await eventually(all_are_told)
    await redis.aclose()
    await cache.close()


async def test_all_of_a_kind_are_cleared_in_many_steps_and_what_is_about_to_change_stays_out(
    cache: Cache, stack: RunningStack
) -> None:
    prefix, number = f"{unique()}:", 1_203
    await cache.fill({f"{prefix}{n}": b"value" for n in range(number)})
    other, changing = unique(), f"{prefix}changing"
    await cache.fill({other: b"value"})
    await cache.forget([changing])
    redis = Redis.from_url(stack.redis_url)
    await redis.config_resetstat()

    assert await cache.clear(prefix) == number
    assert await cache.clear(prefix) == 0
    assert await cache.get(f"{prefix}7") is None
    assert await cache.get(other) == b"value"
    await cache.fill({changing: b"old"})
    assert await cache.get(changing) is None

    commands = await redis.info("commandstats")
    await redis.aclose()
    assert commands["cmdstat_scan"]["calls"] >= 2 * number // 500
    assert not {"cmdstat_keys", "cmdstat_flushdb", "cmdstat_flushall"} & commands.keys()


async def test_what_can_not_be_cleared_is_an_error() -> None:
    cache = Cache(f"redis://127.0.0.1:{free_port()}/0", 60)
    with pytest.raises(Unavailable):
        await cache.clear("k")
    await cache.close()


async def test_one_of_many_has_a_claim_until_it_is_released(cache: Cache) -> None:
    key = unique()
    assert sorted(await asyncio.gather(*(cache.claim(key, 60) for _ in range(5)))) == [False] * 4 + [True]
    await cache.release(key)
    assert await cache.claim(key, 60)


async def test_in_a_dead_cache_everybody_has_the_claim() -> None:
    cache = Cache(f"redis://127.0.0.1:{free_port()}/0", 60)
    assert [await cache.claim("k", 60) for _ in range(3)] == [True] * 3
    await cache.release("k")
    await cache.close()
