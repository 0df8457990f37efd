"""Who waits for a change of which order, on this instance."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gozon.orders.v1.orders_pb2 import Order
from kit.bus import Bus
from kit.errors import ResourceExhausted
from kit.events import Event
from services.orders.events import FACTS, changed_order

PER_USER = 100
PER_INSTANCE = 2_000
"""Streams stay open for minutes, and share the server's slots with every other call."""


class TooManyWatchers(ResourceExhausted):
    """You watch too many orders at once; end a stream before you open another one."""

    reason = "TOO_MANY_WATCHERS"


class Watchers:
    """Passes changed orders on to whoever watches them; listens to the bus only while somebody does."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._queues: dict[str, set[asyncio.Queue[Order]]] = {}
        self._users: Counter[str] = Counter()
        self._changing = asyncio.Lock()
        self._unsubscribe: Callable[[], Awaitable[None]] | None = None

    @asynccontextmanager
    async def watching(self, order_id: str, user_id: str) -> AsyncIterator[asyncio.Queue[Order]]:
        """Gives a queue that gets the order each time it changes, from now on, if NATS does not lose the message.

        Errors: TooManyWatchers when `user_id` has 100 already, or this instance 2,000.
        """
        if self._users[user_id] >= PER_USER or self._users.total() >= PER_INSTANCE:
            raise TooManyWatchers
        self._users[user_id] += 1
        queue: asyncio.Queue[Order] = asyncio.Queue()
        self._queues.setdefault(order_id, set()).add(queue)
        try:
            async with self._changing:
                if self._unsubscribe is None:
                    self._unsubscribe = await self._bus.subscribe(tuple(FACTS), self._received)
            yield queue
        finally:
            self._users[user_id] -= 1
            if not self._users[user_id]:
                del self._users[user_id]
            self._queues[order_id].discard(queue)
            if not self._queues[order_id]:
                del self._queues[order_id]
            async with self._changing:
                if not self._queues and self._unsubscribe is not None:
                    await self._unsubscribe()
                    self._unsubscribe = None

    def _received(self, message: Event) -> None:
        order = changed_order(message)
        for queue in self._queues.get(order.id, ()):
            queue.put_nowait(order)
