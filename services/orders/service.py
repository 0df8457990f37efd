"""What Orders does."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, Order
from kit import idempotency
from kit.auth import Identity
from kit.batch import Batcher
from kit.cache import Cache
from kit.db import Database, atomic
from kit.errors import Error
from kit.events import Event
from kit.ids import new_id
from kit.outbox import Outbox
from kit.telemetry import trace_id, traceparent
from services.orders import domain, events, repository
from services.orders.domain import DEFAULT_CURRENCY, OrderNotFound
from services.orders.watch import Watchers

RECHECK_SECONDS = 5.0
"""A watcher reads the order again this often, should NATS lose the message that it waits for."""
ASK_AGAIN_SECONDS = 5.0
ASK_AGAIN_LIMIT = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order that waits for its batch."""

    order: Order
    key: idempotency.Key | None
    traceparent: str


@dataclass(frozen=True, slots=True)
class Created:
    """An order that was created, now or by an earlier request with the same idempotency key."""

    order: Order
    replayed: bool


class OrderService:
    """Accepts orders and ends them when Payments has decided."""

    def __init__(self, database: Database, outbox: Outbox, cache: Cache, watchers: Watchers) -> None:
        self._database = database
        self._outbox = outbox
        self._cache = cache
        self._watchers = watchers
        self.batcher: Batcher[NewOrder, Created] = Batcher(self._create_orders, name="create-order")

    async def create_order(self, request: CreateOrderRequest, user_id: str, key: idempotency.Key | None) -> Created:
        """Accepts an order; it is committed when this returns.

        Errors: TotalMismatch, TotalTooLarge, IdempotencyKeyReused.
        """
        order = Order(
            id=new_id(),
            user_id=user_id,
            status=Order.PENDING,
            items=request.items,
            description=request.description,
            total_price=domain.total_price(
                ((item.quantity, item.price) for item in request.items),
                request.amount,
                request.total_price if request.HasField("total_price") else None,
            ),
            currency=request.currency or DEFAULT_CURRENCY,
        )
        return await self.batcher.submit(NewOrder(order, key, traceparent.get()))

    @atomic
    async def _create_orders(self, batch: Sequence[NewOrder]) -> list[Created | Error]:
        now = datetime.now(UTC)
        at = Timestamp()
        at.FromDatetime(now)
        for new in batch:
            new.order.created_at.CopyFrom(at)
            new.order.updated_at.CopyFrom(at)
        results: list[Created | Error] = [Created(new.order, replayed=False) for new in batch]
        async with self._database.transaction() as tx:
            fresh = list(batch)
            keyed = [(index, new.key) for index, new in enumerate(batch) if new.key]
            if keyed:
                answers = [(key, batch[index].order.SerializeToString()) for index, key in keyed]
                outcomes = await idempotency.claim_all(tx, answers)
                for (index, _), first in zip(keyed, outcomes, strict=True):
                    if isinstance(first, bytes):
                        results[index] = Created(Order.FromString(first), replayed=True)
                    elif first is not None:
                        results[index] = first
                fresh = [
                    new
                    for new, result in zip(batch, results, strict=True)
                    if isinstance(result, Created) and not result.replayed
                ]
            if fresh:
                await repository.insert(tx, [new.order for new in fresh], now)
                await self._outbox.add(tx, [events.order_created(new.order, new.traceparent) for new in fresh])
        for new in fresh:
            log.debug("order_created", order_id=new.order.id, trace_id=trace_id(new.traceparent))
        return results

    @atomic
    async def settle(self, messages: Sequence[Event]) -> None:
        """Ends the orders that events of Payments are about; those that are settled already stay as they are."""
        settlements = events.settlements(messages)
        traces = {s.order_id: s.traceparent for s in settlements}
        async with self._database.transaction() as tx:
            orders = await repository.settle(tx, settlements, datetime.now(UTC))
            await self._outbox.add(tx, [events.order_settled(order, traces[order.id]) for order in orders])
        for order in orders:
            log.debug("order_settled", order_id=order.id, trace_id=trace_id(traces[order.id]))
        await self._cache.refresh({_cache_key(order.id): order.SerializeToString() for order in orders})

    async def get_order(self, order_id: str, caller: Identity) -> Order:
        """Returns an order of the caller, or any order to an admin. Errors: OrderNotFound."""
        if order := await self._cached(order_id):
            if not caller.may_act_for(order.user_id):
                raise OrderNotFound
            return order
        order = await self._read(order_id, caller)
        # A pending order changes within milliseconds: what is cached is settled.
        if order.status != Order.PENDING:
            await self._cache.fill(_cache_key(order_id), order.SerializeToString())
        return order

    async def list_orders(self, user_id: str, status: str, before: str, limit: int) -> list[Order]:
        """Returns a user's orders with ids below `before`, newest first; an empty status means any."""
        async with self._database.autocommit() as connection:
            return await repository.page(connection, user_id, status, before, limit)

    async def watch_order(self, order_id: str, caller: Identity) -> AsyncGenerator[Order, None]:
        """Yields the order as it is and after each change, until it is canceled or the caller's token expires.

        Errors: OrderNotFound, TooManyWatchers.
        """
        async with self._watchers.watching(order_id, caller.user_id) as changes:
            order = await self._read(order_id, caller)
            yield order
            while order.status != Order.CANCELED and (left := caller.expires_at - time.time()) > 0:
                try:
                    async with asyncio.timeout(min(left, RECHECK_SECONDS)):
                        changed = await changes.get()
                except TimeoutError:
                    changed = await self._read(order_id, caller)
                if changed.status != order.status:
                    order = changed
                    yield order

    async def ask_again_now_and_then(self) -> None:
        """Asks Payments again about orders it has not answered, for ever.

        This is what makes the loss of the broker's storage harmless: the question or the answer was in there.
        """
        while True:
            try:
                while orders := await self._ask_again():
                    log.warning("asked_again", orders=orders)
            except Exception as error:
                log.warning("ask_again_failed", error=repr(error))
            await asyncio.sleep(ASK_AGAIN_SECONDS)

    @atomic
    async def _ask_again(self) -> int:
        async with self._database.transaction() as tx:
            orders = await repository.unanswered(tx, datetime.now(UTC), ASK_AGAIN_LIMIT)
            await self._outbox.add(tx, [events.order_created(order, "") for order in orders])
        return len(orders)

    async def _cached(self, order_id: str) -> Order | None:
        value = await self._cache.get(_cache_key(order_id))
        try:
            return Order.FromString(value) if value else None
        except DecodeError:
            log.warning("cache_garbage", order_id=order_id)
            return None

    async def _read(self, order_id: str, caller: Identity) -> Order:
        async with self._database.autocommit() as connection:
            order = await repository.by_id(connection, None if caller.is_admin else caller.user_id, order_id)
        if order is None:
            raise OrderNotFound
        return order


def _cache_key(order_id: str) -> str:
    return f"order:{order_id}"
