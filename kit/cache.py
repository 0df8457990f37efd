"""Redis as a cache: never an error to the caller, never a long wait."""

import asyncio
import time
from collections.abc import Collection, Mapping
from itertools import islice

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from kit.errors import Unavailable

TIMEOUT_SECONDS = 0.1
PROBE_SECONDS = 0.5
"""After a failure nobody asks; a probe this often finds out when the cache answers again. No request waits for it."""
FORGET_SECONDS = 30
FORGET_AGAIN_SECONDS = 0.5
FORGET_BATCH = 100
"""Keys that are forgotten in one go: all those of a long outage at once would keep everybody waiting."""
CLEAR_BATCH = 500
"""Keys that clear() looks at in one command, which takes Redis less than a millisecond."""

_ABOUT_TO_CHANGE = b""
# What forget() has written stays: without it, who read an old value could still store it.
_CLEAR = """
    local removed = 0
    for _, key in ipairs(KEYS) do
        if redis.call('STRLEN', key) > 0 then removed = removed + redis.call('UNLINK', key) end
    end
    return removed
"""

READS = Counter("cache_reads_total", "Reads of the cache", ["outcome"])
CLEARED = Counter("cache_cleared_total", "Values that were removed by clearing all of a kind", ["prefix"])
log = structlog.get_logger()


class Cache:
    """Values by key that expire by themselves."""

    def __init__(self, url: str, ttl: int) -> None:
        """`url` is redis://:password@host:port/db; values live `ttl` seconds."""
        self._ttl = ttl
        self._redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            # With them a connection that Redis has closed, because it was restarted, is used once more and fails.
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        self._clear_keys = self._redis.register_script(_CLEAR)
        self._probing: asyncio.Task[None] | None = None
        """Not None while the cache does not answer."""
        self._silent = False
        """Whether it took too long when it last failed, instead of refusing at once."""
        self._to_forget: dict[str, float] = {}
        self._forgetting: asyncio.Task[None] | None = None

    async def get(self, key: str) -> bytes | None:
        """Returns the value, or None when there is none or the cache does not answer."""
        if key in self._to_forget or self._probing:
            READS.labels("skipped").inc()
            return None
        try:
            value = await self._redis.get(key)
        except (RedisError, OSError) as error:
            self._failed(error)
            READS.labels("failed").inc()
            return None
        READS.labels("hit" if value else "miss").inc()
        return value if isinstance(value, bytes) and value != _ABOUT_TO_CHANGE else None

    async def fill(self, values: Mapping[str, bytes], seconds: int | None = None) -> None:
        """Stores values that were just read or committed, unless there is one already or forget() keeps it out.

        They live for `seconds`, if that is given.
        """
        if not values or self._probing:
            return
        if not await self._set(values, ex=seconds or self._ttl, nx=True) and self._silent:
            # One that is frozen may store them once it is back, and they may be old by then.
            await self.forget(values)

    async def claim(self, key: str, seconds: int) -> bool:
        """Says whether nobody has claimed this in the last `seconds`; True too when the cache does not answer."""
        if self._probing:
            return True
        try:
            claimed = await self._redis.set(key, b"1", ex=seconds, nx=True)
        except (RedisError, OSError) as error:
            self._failed(error)
            return True
        return bool(claimed)

    async def release(self, key: str) -> None:
        """Ends a claim; when the cache does not answer, it ends by itself."""
        if self._probing:
            return
        try:
            await self._redis.unlink(key)
        except (RedisError, OSError) as error:
            self._failed(error)

    async def clear(self, prefix: str) -> int:
        """Removes all values whose keys begin with `prefix`, and returns how many there were.

        Any number of them: Redis is asked for some hundred at a time, and serves others in between. What forget()
        keeps out stays out. Errors: Unavailable, with a part removed.
        """
        removed, cursor = 0, 0
        try:
            while True:
                cursor, keys = await self._redis.scan(cursor, match=f"{prefix}*", count=CLEAR_BATCH)
                if keys:
                    batch = int(await self._clear_keys(keys=keys))
                    CLEARED.labels(prefix).inc(batch)
                    removed += batch
                if not cursor:
                    break
        except (RedisError, OSError) as error:
            self._failed(error)
            raise Unavailable from error
        log.info("cache_cleared", prefix=prefix, values=removed)
        return removed

    async def forget(self, keys: Collection[str]) -> bool:
        """Removes values that are about to change, and stores none for 30 seconds; call it before the commit.

        By then whoever read the old value has stored it or never will. When the cache does not answer (False), it is
        told later, by this process; should that die too, old values live on for the rest of their time.
        """
        if not keys:
            return True
        deadline = time.monotonic() + self._ttl
        for key in keys:
            # At the end, for the newest are told first.
            self._to_forget.pop(key, None)
            self._to_forget[key] = deadline
        while not self._to_forget.keys().isdisjoint(keys):
            if not await self._forget_newest():
                break
        if self._to_forget and (self._forgetting is None or self._forgetting.done()):
            self._forgetting = asyncio.create_task(self._forget_later())
        return self._to_forget.keys().isdisjoint(keys)

    async def close(self) -> None:
        """Closes the connections."""
        for task in (self._forgetting, self._probing):
            if task is not None:
                task.cancel()
        await self._redis.aclose()

    async def _set(self, values: Mapping[str, bytes], *, ex: int, nx: bool = False) -> bool:
        if not values:
            return True
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key, value in values.items():
                    pipeline.set(key, value, ex=ex, nx=nx)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            self._failed(error)
            return False
        return True

    async def _forget_newest(self) -> bool:
        """Tells of the newest keys that wait to be forgotten, and says whether they were taken."""
        # Who refuses may have been restarted this moment, and others may fill it with what is old here.
        if self._probing and self._silent:
            return False
        keys = list(islice(reversed(self._to_forget), FORGET_BATCH))
        if not await self._set(dict.fromkeys(keys, _ABOUT_TO_CHANGE), ex=FORGET_SECONDS):
            return False
        for key in keys:
            self._to_forget.pop(key, None)
        return True

    async def _forget_later(self) -> None:
        while self._to_forget:
            await asyncio.sleep(FORGET_AGAIN_SECONDS)
            now = time.monotonic()
            # What was in the cache when it was to be forgotten has expired by its deadline.
            self._to_forget = {key: deadline for key, deadline in self._to_forget.items() if deadline > now}
            while self._to_forget and await self._forget_newest():
                pass

    def _failed(self, error: Exception) -> None:
        log.warning("cache_failed", error=repr(error))
        self._silent = isinstance(error, RedisTimeoutError)
        if self._probing is None:
            self._probing = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await self._redis.ping()
            except Exception as error:
                # Whatever it is: who stops asking never uses the cache again.
                self._failed(error)
            else:
                log.info("cache_answers")
                self._probing = None
                return
