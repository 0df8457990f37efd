"""What Orders does when nobody says anything: it asks again, and gives up what took too long."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog

from gozon.orders.v1.orders_pb2 import Order
from kit.db import Database, Transaction, atomic
from kit.outbox import Outbox
from services.orders import events, metrics, repository
from services.orders.domain import EXPIRE, EXPIRED, EXPIRY
from services.orders.events import QUESTIONS, Verdict
from services.orders.repository import Change

SWEEP_SECONDS = 5.0
SWEEP_LIMIT = 500
PROCESSING_LIMIT = 200

log = structlog.get_logger()


class Sweeper:
    """Finds orders and refunds without an answer of Payments. Any number of instances may run at once."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        pending_seconds: float,
        processing_seconds: float,
        workers_are_idle: Callable[[], Awaitable[bool]],
    ) -> None:
        """An order that is PENDING for longer than `pending_seconds` expires.

        Processing that is not done after `processing_seconds` is asked for again, but only if `workers_are_idle`: as
        long as events wait for workers, that of the order may be one of them.
        """
        self._database = database
        self._outbox = outbox
        self._pending = timedelta(seconds=pending_seconds)
        self._processing = timedelta(seconds=processing_seconds)
        self._workers_are_idle = workers_are_idle

    async def run(self) -> None:
        """Sweeps now and then, for ever.

        This is what makes the loss of the broker's storage harmless: the question or the answer was in there.
        """
        while True:
            try:
                while found := await self.sweep():
                    log.warning("asked_again", orders_and_refunds=found)
                if await self._workers_are_idle() and (found := await self.sweep_unprocessed()):
                    log.warning("processing_asked_again", orders=found)
            except Exception as error:
                log.warning("sweep_failed", error=repr(error))
            await asyncio.sleep(SWEEP_SECONDS)

    @atomic
    async def sweep(self) -> int:
        """Asks Payments again about at most 500 orders and 500 refunds, and returns about how many it did.

        Of the orders those that are PENDING for too long are canceled instead.
        """
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            orders = await repository.unanswered(tx, now, now - self._pending, SWEEP_LIMIT)
            refunds = await repository.unanswered_refunds(tx, now, SWEEP_LIMIT)
            too_old = [o for o in orders if o.status == Order.PENDING and self._age(o, now) > self._pending]
            expired = {order.id: order for order in await self._expire(tx, too_old, now)}
            orders = [expired.get(order.id, order) for order in orders]
            await self._outbox.add(
                tx,
                [
                    *(events.order_changed(order, "") for order in expired.values()),
                    *(QUESTIONS[order.status](order, "") for order in orders),
                    *(events.refund_requested(refund, "") for refund in refunds),
                ],
            )
        metrics.count_changes([*expired.values()])
        return len(orders) + len(refunds)

    @atomic
    async def sweep_unprocessed(self) -> int:
        """Asks workers again to process at most 200 orders, and returns how many these are.

        The tasks are in the workers' broker, which may lose them.
        """
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            orders = await repository.unprocessed(tx, now, now - self._processing, PROCESSING_LIMIT)
            await self._outbox.add(tx, [events.processing_requested(order, "") for order in orders])
        return len(orders)

    def _age(self, order: Order, now: datetime) -> timedelta:
        return now - order.created_at.ToDatetime(UTC)

    async def _expire(self, tx: Transaction, orders: list[Order], now: datetime) -> list[Order]:
        if not orders:
            return []
        verdicts = [Verdict(order.user_id, order.id, "", cancel_reason=EXPIRED) for order in orders]
        stored = await repository.change(tx, Change(EXPIRE, EXPIRY, now, asked_at=now), verdicts)
        return [s.order for s in stored]
