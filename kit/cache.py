"""Redis as a cache: never an error to the caller, never a long wait."""

import time
from collections.abc import Mapping

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

TIMEOUT_SECONDS = 0.1
BREAKER_SECONDS = 1.0
"""After a failure nobody asks for this long, so that a dead cache costs one timeout a second and not one a request."""

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

    async def get(self, key: str) -> bytes | None:
        """Returns the value, or None when there is none or the cache does not answer."""
        if time.monotonic() < self._closed_until:
            READS.labels("skipped").inc()
            return None
        try:
            value = await self._redis.get(key)
        except (RedisError, OSError) as error:
            self._failed(error)
            READS.labels("failed").inc()
            return None
        READS.labels("miss" if value is None else "hit").inc()
        return value if isinstance(value, bytes) else None

    async def fill(self, key: str, value: bytes) -> None:
        """Stores what was read from the database, unless a writer stored something newer in the meantime."""
        if time.monotonic() >= self._closed_until:
            try:
                await self._redis.set(key, value, ex=self._ttl, nx=True)
            except (RedisError, OSError) as error:
                self._failed(error)

    async def refresh(self, values: Mapping[str, bytes]) -> None:
        """Stores values that were just committed over whatever is there."""
        if values and time.monotonic() >= self._closed_until:
            try:
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for key, value in values.items():
                        pipeline.set(key, value, ex=self._ttl)
                    await pipeline.execute()
            except (RedisError, OSError) as error:
                self._failed(error)

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    def _failed(self, error: Exception) -> None:
        self._closed_until = time.monotonic() + BREAKER_SECONDS
        log.warning("cache_failed", error=repr(error))
