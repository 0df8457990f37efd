"""Redis as a cache: never an error to the caller, never a long wait."""

import asyncio
import time
from collections.abc import Collection, Mapping

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

TIMEOUT_SECONDS = 0.1
BREAKER_SECONDS = 1.0
"""After a failure nobody asks for this long, so that a dead cache costs one timeout a second and not one a request."""
FORGET_SECONDS = 30
FORGET_AGAIN_SECONDS = 0.5

_ABOUT_TO_CHANGE = b""

READS = Counter("cache_reads_total", "Reads of the cache", ["outcome"])
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
        )
        self._closed_until = 0.0
        self._to_forget: dict[str, float] = {}
        self._forgetting: asyncio.Task[None] | None = None

    async def get(self, key: str) -> bytes | None:
        """Returns the value, or None when there is none or the cache does not answer."""
        if time.monotonic() < self._closed_until or key in self._to_forget:
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

    async def fill(self, values: Mapping[str, bytes]) -> None:
        """Stores values that were just read or committed, unless there is one already or forget() keeps it out."""
        if values and time.monotonic() >= self._closed_until:
            await self._set(values, ex=self._ttl, nx=True)

    async def forget(self, keys: Collection[str]) -> None:
        """Removes values that are about to change, and stores none for 30 seconds; call it before the commit.

        By then whoever read the old value has stored it or never will. When the cache does not answer, it is told
        later, by this process; should that die too, old values live on for the rest of their time.
        """
        if not keys:
            return
        deadline = time.monotonic() + self._ttl
        self._to_forget.update(dict.fromkeys(keys, deadline))
        await self._forget()
        if self._to_forget and (self._forgetting is None or self._forgetting.done()):
            self._forgetting = asyncio.create_task(self._forget_later())

    async def close(self) -> None:
        """Closes the connections."""
        if self._forgetting is not None:
            self._forgetting.cancel()
        await self._redis.aclose()

    async def _set(self, values: Mapping[str, bytes], *, ex: int, nx: bool = False) -> bool:
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key, value in values.items():
                    pipeline.set(key, value, ex=ex, nx=nx)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            self._failed(error)
            return False
        return True

    async def _forget(self) -> None:
        now = time.monotonic()
        if now >= self._closed_until:
            # What was in the cache when it was to be forgotten has expired by its deadline.
            keys = [key for key, deadline in self._to_forget.items() if deadline > now]
            if await self._set(dict.fromkeys(keys, _ABOUT_TO_CHANGE), ex=FORGET_SECONDS):
                self._to_forget = {key: at for key, at in self._to_forget.items() if at > now and key not in keys}

    async def _forget_later(self) -> None:
        while self._to_forget:
            await asyncio.sleep(FORGET_AGAIN_SECONDS)
            await self._forget()

    def _failed(self, error: Exception) -> None:
        self._closed_until = time.monotonic() + BREAKER_SECONDS
        log.warning("cache_failed", error=repr(error))
