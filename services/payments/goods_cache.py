"""What the shop keeps in the cache: the goods of users for 5 minutes, what is popular for an hour."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from gozon.shop.v1.events_pb2 import InventoryChanged
from gozon.shop.v1.shop_pb2 import Inventory, ListPopularProductsResponse
from kit.cache import Cache
from kit.errors import Unavailable
from kit.events import Event
from kit.read_through import ReadThrough

POPULAR_SECONDS = 3600
COUNTING_SECONDS = 10
"""So long nobody else counts what one instance counts; it may have died."""
LOOK_SECONDS = 0.05
LOOKS = 40
"""So often another instance looks whether that is over, and counts then."""

_INVENTORIES = "inventory:"
_POPULAR = "popular-products"
_COUNTING = "popular-products:counting"


class CachedInventories:
    """The goods of users; never those of before a change that was committed. See docs/decisions/0017-shop-cache.md."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._inventories = ReadThrough(cache, Inventory)

    async def get(self, user_id: str, read: Callable[[], Awaitable[Inventory]]) -> Inventory:
        """Returns the goods of a user, from the cache or by `read`. They are shared: do not change them.

        Errors: those of `read`.
        """
        return await self._inventories.get(_key(user_id), read)

    async def forget(self, user_ids: Iterable[str]) -> bool:
        """Removes the goods of users that are about to change; call it before the commit, and see Cache.forget."""
        return await self._cache.forget([_key(user_id) for user_id in user_ids])

    async def forget_again(self, changes: Sequence[Event]) -> None:
        """Removes goods that have changed, should whoever changed them not have got to it.

        Errors: Unavailable, for the events to come again; DecodeError or ValueError for one that tells of nobody.
        """
        users = {InventoryChanged.FromString(event.payload).user_id for event in changes}
        if "" in users:
            raise ValueError("nobody's goods")
        if not await self.forget(users):
            raise Unavailable

    async def clear(self) -> int:
        """Removes the goods of everybody, and returns of how many users there were any. Errors: Unavailable."""
        return await self._cache.clear(_INVENTORIES)


class CachedPopularity:
    """Which products are popular, as one instance has counted and all tell until the hour is over."""

    def __init__(self, cache: Cache) -> None:
        """`cache` keeps values for POPULAR_SECONDS."""
        self._cache = cache
        self._popular = ReadThrough(cache, ListPopularProductsResponse)
        self._counted: ListPopularProductsResponse | None = None
        self._counted_until = 0.0

    async def get(self, count: Callable[[], Awaitable[ListPopularProductsResponse]]) -> ListPopularProductsResponse:
        """Returns what was counted within the hour, or else what `count` counts. It is shared: do not change it.

        One instance counts, and others wait for it up to 2 seconds. Without the cache each counts once an hour. That
        nothing is popular nobody keeps: it is counted at once. Errors: those of `count`.
        """
        if (found := await self._popular.peek(_POPULAR)) is not None:
            return found
        left = self._counted_until - time.monotonic()
        if self._counted is not None and left > 0:
            # The cache has lost it, or is away.
            await self._cache.fill({_POPULAR: self._counted.SerializeToString()}, max(1, int(left)))
            return self._counted
        return await self._popular.get(_POPULAR, lambda: self._count_in_turn(count))

    async def _count_in_turn(
        self, count: Callable[[], Awaitable[ListPopularProductsResponse]]
    ) -> ListPopularProductsResponse:
        for _ in range(LOOKS):
            if await self._cache.claim(_COUNTING, COUNTING_SECONDS):
                break
            await asyncio.sleep(LOOK_SECONDS)
        try:
            if (found := await self._popular.peek(_POPULAR)) is not None:
                return found
            counted = await count()
            if counted.products:
                self._counted, self._counted_until = counted, time.monotonic() + POPULAR_SECONDS
                await self._cache.fill({_POPULAR: counted.SerializeToString()})
            return counted
        finally:
            # Also another's, whose time is over: what it counts is stored, or counted once more.
            await self._cache.release(_COUNTING)


def _key(user_id: str) -> str:
    return f"{_INVENTORIES}{user_id}"
