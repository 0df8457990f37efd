"""Orders in the cache: those that rest, and of those never one that has changed since."""

from collections.abc import Iterable

import structlog
from google.protobuf.message import DecodeError

from gozon.orders.v1.orders_pb2 import Order
from kit.cache import Cache
from services.orders.domain import EXPIRED, REQUESTED

log = structlog.get_logger()


class CachedOrders:
    """Orders that wait for nothing. One that is PENDING, AUTHORIZED or being reversed changes by itself."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def get(self, order_id: str) -> Order | None:
        """Returns an order if it is here."""
        value = await self._cache.get(_key(order_id))
        try:
            order = Order.FromString(value) if value else None
        except DecodeError:
            log.warning("cache_garbage", order_id=order_id)
            return None
        # An older release stored orders without one.
        return order if order and order.etag else None

    async def fill(self, orders: Iterable[Order]) -> None:
        """Stores orders as they were read or committed a moment ago, unless they are here, or about to change."""
        await self._cache.fill({_key(o.id): o.SerializeToString() for o in orders if _rests(o)})

    async def forget(self, order_ids: Iterable[str]) -> None:
        """Removes orders that are about to change; call it before the commit, so that a crash leaves nothing stale."""
        await self._cache.forget([_key(order_id) for order_id in order_ids])


def _rests(order: Order) -> bool:
    if order.status == Order.CANCELED:
        return Order.CancelReason.Name(order.cancel_reason) not in (REQUESTED, EXPIRED)
    return order.status in (Order.PAID, Order.SHIPPED)


def _key(order_id: str) -> str:
    return f"order:{order_id}"
