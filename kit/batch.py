"""Group commit: many callers, one transaction. A lone caller waits for nobody."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from kit.errors import Error, ResourceExhausted, Unavailable
from kit.telemetry import BATCH_SIZE

Item = TypeVar("Item")
Result = TypeVar("Result")


BUSY = 3
LINGER_SECONDS = 0.005
EVENT_LINGER_SECONDS = 0.010
"""Whatever works in batches waits this long for the next batch to grow while, and only while, the last one was larger
than BUSY: half the CPU per item under load, and no delay for a lone one. Nobody's answer waits for events (the outbox,
the consumers), so they wait longer."""


class Batcher(Generic[Item, Result]):
    """Collects items and hands everything that waits to `flush`, one batch at a time.

    `flush` returns one result, or one Error, per item, in order. When it raises, each item of the batch is flushed
    alone, so that a row that can't be written fails alone; unless it raises Unavailable, which all of them get.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Error]]],
        *,
        name: str,
        max_batch: int = 200,
        max_waiting: int = 10_000,
    ) -> None:
        self._flush = flush
        self._size = BATCH_SIZE.labels(name)
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._wake = asyncio.Event()
        self._stopping = False
        self._drained = asyncio.Event()

    async def submit(self, item: Item) -> Result:
        """Returns the item's result once its batch is committed.

        When the caller is cancelled while the item waits, the item is dropped; once its batch has begun, the item is
        written though nobody listens. Errors: whatever `flush` returned for the item; ResourceExhausted when
        `max_waiting` items wait already.
        """
        if self._stopping:
            raise Unavailable
        if len(self._waiting) >= self._max_waiting:
            raise ResourceExhausted
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._wake.set()
        return await future

    async def run(self) -> None:
        """Flushes until drain() was called and nothing waits."""
        last = 0
        try:
            while self._waiting or not self._stopping:
                if not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                if last > BUSY and len(self._waiting) < self._max_batch and not self._stopping:
                    await asyncio.sleep(LINGER_SECONDS)
                batch: list[tuple[Item, asyncio.Future[Result]]] = []
                while self._waiting and len(batch) < self._max_batch:
                    item, future = self._waiting.popleft()
                    if not future.done():
                        batch.append((item, future))
                last = len(batch)
                if batch:
                    self._size.observe(last)
                    await self._write(batch)
        finally:
            self._drained.set()

    async def drain(self) -> None:
        """Refuses new items and returns when the waiting ones are written."""
        self._stopping = True
        self._wake.set()
        await self._drained.wait()

    async def _write(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
        except Unavailable as error:
            # The database is away, which is no matter of one item: alone it would end the same.
            results = [error] * len(batch)
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self._write([one])
                return
            _, future = batch[0]
            if not future.done():
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Error):
                future.set_exception(result)
            else:
                future.set_result(result)
