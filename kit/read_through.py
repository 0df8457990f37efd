"""A cache in front of something slow: of many who want one thing at once, one reads it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog
from google.protobuf.message import DecodeError, Message

from kit.cache import FORGET_SECONDS, Cache

AnyMessage = TypeVar("AnyMessage", bound=Message)

MAX_READ_SECONDS = FORGET_SECONDS / 2
"""What took longer to read is not stored: it may have changed meanwhile, and forget() keeps it out no longer."""

log = structlog.get_logger()


class ReadThrough(Generic[AnyMessage]):
    """Messages by key, from the cache or from where they come from.

    Whoever asks gets what is not older than the question. So nobody joins what has begun: those who come meanwhile
    share what comes next, which finds the answer in the cache, unless that is dead or a change has come between.
    """

    def __init__(self, cache: Cache, kind: type[AnyMessage]) -> None:
        self._cache = cache
        self._kind = kind
        self._begun: dict[str, asyncio.Task[AnyMessage]] = {}
        self._next: dict[str, asyncio.Task[AnyMessage]] = {}

    async def get(self, key: str, read: Callable[[], Awaitable[AnyMessage]]) -> AnyMessage:
        """Returns what the cache has, or else what `read` returns, which is stored. It is shared: do not change it.

        Errors: those of `read`, for all who share it.
        """
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._read(key, read, self._begun.get(key)))
        # Who leaves leaves alone.
        return await asyncio.shield(task)

    async def peek(self, key: str) -> AnyMessage | None:
        """Returns what the cache has."""
        value = await self._cache.get(key)
        if not value:
            return None
        try:
            return self._kind.FromString(value)
        except DecodeError:
            log.warning("cache_garbage", key=key)
            await self._cache.forget([key])
            return None

    async def _read(
        self, key: str, read: Callable[[], Awaitable[AnyMessage]], before: asyncio.Task[AnyMessage] | None
    ) -> AnyMessage:
        if before is not None:
            await asyncio.wait([before])
        self._begun[key] = self._next.pop(key)
        try:
            if (found := await self.peek(key)) is not None:
                return found
            begun = time.monotonic()
            message = await read()
            value = message.SerializeToString()
            # An empty one can't be told from what is about to change.
            if value and time.monotonic() - begun < MAX_READ_SECONDS:
                await self._cache.fill({key: value})
            return message
        finally:
            del self._begun[key]
