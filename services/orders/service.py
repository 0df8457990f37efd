"""What Orders does for those who call it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, Order, OrderChange, RefundOrderRequest
from kit import idempotency
from kit.auth import Identity
from kit.batch import Batcher
from kit.db import Database, Transaction, atomic
from kit.errors import Error, InvalidArgument, PermissionDenied, StaleEtag, TransitionNotAllowed
from kit.ids import new_id
from kit.outbox import Outbox
from kit.telemetry import trace_id, traceparent
from services.orders import domain, events, metrics, repository
from services.orders.cached import CachedOrders
from services.orders.catalog import Catalog
from services.orders.domain import (
    ADMIN,
    CANCEL,
    CANCELED,
    DESCRIBE,
    OWNER,
    REFUND,
    REQUESTED,
    SHIP,
    SHIPPED,
    TO_SHIP,
    WAITING,
    OrderNotFound,
)
from services.orders.events import QUESTIONS, Refund, Verdict
from services.orders.repository import Change, Stored
from services.orders.watch import TooManyWatchers, Watchers

RECHECK_SECONDS = 5.0
"""A watcher reads the order again this often, should NATS lose the message that it waits for."""
ANSWER_SECONDS = 2.0
"""So long a call that asks Payments something waits for what becomes of it."""

ENDED = (Order.SHIPPED, Order.CANCELED)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order that waits for its batch."""

    order: Order
    key: idempotency.Key | None
    traceparent: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The order as a request is answered, now or when it first came with the same idempotency key."""

    order: Order
    replayed: bool


@dataclass(frozen=True, slots=True)
class Update:
    """What somebody wants an order to be; None leaves it as it is."""

    status: str | None = None
    """SHIPPED or CANCELED."""
    description: str | None = None
    etag: str = ""
    """Of the state that is to be changed; empty for any."""


class OrderService:
    """Accepts orders, changes them and tells of them."""

    def __init__(
        self, database: Database, outbox: Outbox, cached: CachedOrders, watchers: Watchers, catalog: Catalog
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._cached = cached
        self._watchers = watchers
        self._catalog = catalog
        self.batcher: Batcher[NewOrder, Answered] = Batcher(self._create_orders, name="create-order")

    async def create_order(self, request: CreateOrderRequest, user_id: str, key: idempotency.Key | None) -> Answered:
        """Accepts an order; it is committed when this returns.

        Errors: those in domain.REFUSALS, IdempotencyKeyReused.
        """
        try:
            items, currency = await self._catalog.priced(request.items, request.currency)
            total_price = domain.total_price(
                ((item.quantity, item.price) for item in items),
                request.amount,
                request.total_price if request.HasField("total_price") else None,
            )
        except domain.REFUSALS:
            if key and any(item.product_id for item in request.items) and (first := await self._first_answer(key)):
                # It was no refusal when the request came first.
                return Answered(first, replayed=True)
            raise
        order = Order(
            id=new_id(),
            user_id=user_id,
            status=Order.PENDING,
            items=items,
            description=request.description,
            total_price=total_price,
            currency=currency,
            capture=request.capture or Order.AUTOMATIC,
            etag="1",
        )
        return await self.batcher.submit(NewOrder(order, key, traceparent.get()))

    async def _first_answer(self, key: idempotency.Key) -> Order | None:
        async with self._database.autocommit() as connection:
            first = await idempotency.first_answer(connection, key)
        return Order.FromString(first) if first is not None else None

    @atomic
    async def _create_orders(self, batch: Sequence[NewOrder]) -> list[Answered | Error]:
        now = datetime.now(UTC)
        at = Timestamp()
        at.FromDatetime(now)
        for new in batch:
            new.order.created_at.CopyFrom(at)
            new.order.updated_at.CopyFrom(at)
        results: list[Answered | Error] = [Answered(new.order, replayed=False) for new in batch]
        async with self._database.transaction() as tx:
            fresh = list(batch)
            keyed = [(index, new.key) for index, new in enumerate(batch) if new.key]
            if keyed:
                answers = [(key, batch[index].order.SerializeToString()) for index, key in keyed]
                outcomes = await idempotency.claim_all(tx, answers)
                for (index, _), first in zip(keyed, outcomes, strict=True):
                    if isinstance(first, bytes):
                        results[index] = Answered(Order.FromString(first), replayed=True)
                    elif first is not None:
                        results[index] = first
                fresh = [
                    new
                    for new, result in zip(batch, results, strict=True)
                    if isinstance(result, Answered) and not result.replayed
                ]
            if fresh:
                await repository.insert(tx, [new.order for new in fresh], now)
                await self._outbox.add(tx, [events.order_created(new.order, new.traceparent) for new in fresh])
        metrics.CREATED.inc(len(fresh))
        for new in fresh:
            log.debug("order_created", order_id=new.order.id, trace_id=trace_id(new.traceparent))
        return results

    async def get_order(self, order_id: str, caller: Identity) -> Order:
        """Returns an order of the caller, or any order to an admin or a worker. Errors: OrderNotFound."""
        if order := await self._cached.get(order_id):
            if not (caller.may_act_for(order.user_id) or caller.is_worker):
                raise OrderNotFound
            return order
        order = await self._read(order_id, caller)
        await self._cached.fill([order])
        return order

    async def list_orders(self, user_id: str | None, status: str, before: str, limit: int) -> list[Order]:
        """Returns a user's orders with ids below `before`, newest first; an empty status means any.

        Without a user those of all: in any status, or one of domain.TO_SHIP. Errors: InvalidArgument.
        """
        if user_id is None and status and status not in TO_SHIP:
            which = " or ".join(sorted(TO_SHIP))
            raise InvalidArgument(violations=(("status", f"must be {which}, or not set, for the orders of all users"),))
        async with self._database.autocommit() as connection:
            if user_id is None:
                return await repository.page_of_all(connection, status, before, limit)
            return await repository.page(connection, user_id, status, before, limit)

    async def list_history(self, order_id: str, caller: Identity) -> list[OrderChange]:
        """Returns what happened to an order, oldest first. Errors: OrderNotFound."""
        async with self._database.autocommit() as connection:
            order = await repository.by_id(connection, _owner(caller), order_id)
            if order is None:
                raise OrderNotFound
            return await repository.history(connection, order)

    async def update_order(self, order_id: str, caller: Identity, update: Update) -> Order:
        """Changes an order and returns it as it is then; what it is already changes nothing.

        Shipping an AUTHORIZED order waits 2 seconds for its money, and returns it AUTHORIZED when that was too short.
        Errors: PermissionDenied for shipping without being an admin; OrderNotFound; StaleEtag; TransitionNotAllowed.
        """
        if update.status == SHIPPED and not caller.is_admin:
            raise PermissionDenied
        order = await self._update(order_id, caller, update)
        if update.status == SHIPPED and order.status == Order.AUTHORIZED:
            order = await self._wait_for(lambda now: now.status in ENDED, order, caller)
            if order.status == Order.CANCELED:
                raise TransitionNotAllowed("The order was canceled before its money was captured.")
        return order

    async def cancel_order(self, order_id: str, caller: Identity, etag: str) -> Order:
        """Cancels an order; what was held or taken for it is asked back. Errors: as update_order."""
        return await self.update_order(order_id, caller, Update(CANCELED, etag=etag))

    @atomic
    async def _update(self, order_id: str, caller: Identity, update: Update) -> Order:
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            stored = await self._lock(tx, order_id, caller)
            order = stored.order
            if update.etag not in ("", order.etag):
                raise StaleEtag
            description = update.description if update.description != order.description else None
            step = self._step(stored, update.status) or (DESCRIBE if description is not None else None)
            if step is None:
                return order
            if step == DESCRIBE:
                domain.require_room(int(order.etag))
            asks = domain.require(step, Order.Status.Name(order.status)) in WAITING and step != DESCRIBE
            change = Change(
                step,
                cause=OWNER if step != SHIP and caller.user_id == order.user_id else ADMIN,
                at=now,
                asked_at=now if asks else stored.asked_at if step == DESCRIBE else None,
                actor_id=caller.user_id,
                description=description,
                shipped_by=caller.user_id if step == SHIP else None,
            )
            await self._cached.forget([order_id])
            reason = REQUESTED if step == CANCEL else ""
            trace = traceparent.get()
            [changed] = await repository.change(tx, change, [Verdict(order.user_id, order.id, trace, reason)])
            told = [events.order_changed(changed.order, trace)] if changed.order.status != order.status else []
            asked = [QUESTIONS[changed.order.status](changed.order, trace)] if asks else []
            await self._outbox.add(tx, [*told, *asked])
        metrics.count_changes([changed.order] if told else [])
        log.debug("order_updated", order_id=order.id, step=step, trace_id=trace_id(trace))
        return changed.order

    @staticmethod
    def _step(stored: Stored, status: str | None) -> str | None:
        """Returns the step to a status; None when the order is there, or on its way."""
        if status is None or Order.Status.Name(stored.order.status) == status:
            return None
        if status == SHIPPED and stored.order.status == Order.AUTHORIZED and stored.shipped_by:
            return None
        return domain.STEP_TO[status]

    @atomic
    async def mark_order_processed(self, order_id: str) -> Order:
        """Notes that a worker has processed an order, whatever its status; of several times the first one counts.

        Errors: OrderNotFound.
        """
        trace = traceparent.get()
        await self._cached.forget([order_id])
        async with self._database.transaction() as tx:
            processed = await repository.mark_processed(tx, order_id, datetime.now(UTC))
            if processed is None:
                order = await repository.by_id(tx, None, order_id)
                if order is None:
                    raise OrderNotFound
                return order
            await self._outbox.add(tx, [events.order_processed(processed, trace)])
        log.debug("order_processed", order_id=order_id, trace_id=trace_id(trace))
        return processed

    async def refund_order(self, request: RefundOrderRequest, caller: Identity, key: idempotency.Key) -> Answered:
        """Gives back a part of what was paid; waits 2 seconds until Payments has done that.

        Errors: OrderNotFound, TransitionNotAllowed, RefundTooLarge, TooManyChanges, IdempotencyKeyReused.
        """
        accepted = await self._request_refund(request, caller, key)
        if accepted.replayed:
            return accepted
        before = accepted.order

        def came_back(now: Order) -> bool:
            return now.refunded_price >= before.refunded_price + request.amount or now.status == Order.CANCELED

        order = await self._wait_for(came_back, before, caller)
        if order.etag != before.etag:
            await self._keep_answer(key, order)
        return Answered(order, replayed=False)

    @atomic
    async def _request_refund(self, request: RefundOrderRequest, caller: Identity, key: idempotency.Key) -> Answered:
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            first = await idempotency.claim(tx, key)
            if first is not None:
                return Answered(Order.FromString(first), replayed=True)
            order = (await self._lock(tx, request.order_id, caller)).order
            domain.require(REFUND, Order.Status.Name(order.status))
            domain.require_room(int(order.etag))
            under_way = await repository.refunds_under_way(tx, order)
            domain.require_refundable(request.amount, order.paid_price, order.refunded_price, under_way)
            refund = Refund(new_id(), order.id, order.user_id, request.amount)
            await repository.insert_refund(tx, refund, request.description, caller.user_id, now)
            await self._outbox.add(tx, [events.refund_requested(refund, traceparent.get())])
            await idempotency.answer(tx, key, order)
        log.debug("refund_requested", order_id=order.id, trace_id=trace_id(traceparent.get()))
        return Answered(order, replayed=False)

    @atomic
    async def _keep_answer(self, key: idempotency.Key, order: Order) -> None:
        """Makes what the first request got what a repetition gets."""
        async with self._database.transaction() as tx:
            await idempotency.answer(tx, key, order)

    async def watch_order(self, order_id: str, caller: Identity) -> AsyncGenerator[Order, None]:
        """Yields the order as it is and after each change, until it is SHIPPED, CANCELED or the caller's token expires.

        Errors: OrderNotFound, TooManyWatchers.
        """
        async with aclosing(self._states(order_id, caller)) as states:
            async for order in states:
                yield order
                if order.status in ENDED:
                    return

    async def _states(self, order_id: str, caller: Identity) -> AsyncGenerator[Order, None]:
        async with self._watchers.watching(order_id, caller.user_id) as changes:
            order = await self._read(order_id, caller)
            yield order
            while (left := caller.expires_at - time.time()) > 0:
                try:
                    async with asyncio.timeout(min(left, RECHECK_SECONDS)):
                        changed = await changes.get()
                except TimeoutError:
                    changed = await self._read(order_id, caller)
                # Messages may come late and tell what was seen already; those of an older release have no etag.
                if int(changed.etag or 0) > int(order.etag):
                    order = changed
                    yield order

    async def _wait_for(self, so: Callable[[Order], bool], order: Order, caller: Identity) -> Order:
        """Returns the order as soon as it is `so`, or as it is after 2 seconds."""
        newest = order
        try:
            async with asyncio.timeout(ANSWER_SECONDS), aclosing(self._states(order.id, caller)) as states:
                async for newest in states:
                    if so(newest):
                        break
        except (TimeoutError, TooManyWatchers):
            pass
        return newest

    async def _lock(self, tx: Transaction, order_id: str, caller: Identity) -> Stored:
        stored = await repository.lock(tx, _owner(caller), order_id)
        if stored is None:
            raise OrderNotFound
        return stored

    async def _read(self, order_id: str, caller: Identity) -> Order:
        owner = None if caller.is_worker else _owner(caller)
        async with self._database.autocommit() as connection:
            order = await repository.by_id(connection, owner, order_id)
        if order is None:
            raise OrderNotFound
        return order


def _owner(caller: Identity) -> str | None:
    """Returns whose orders a caller may see; None for anybody's."""
    return None if caller.is_admin else caller.user_id
