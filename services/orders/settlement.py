"""What Orders does when Payments has answered."""

from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from gozon.orders.v1.orders_pb2 import Order
from kit.db import Database, Transaction, atomic
from kit.events import Event
from kit.outbox import Outbox
from kit.telemetry import trace_id
from services.orders import events, metrics, repository
from services.orders.cached import CachedOrders
from services.orders.domain import ADMIN, AUTHORIZE, DECLINE, PAY, PAYMENT, RELEASE, SHIP
from services.orders.events import REFUNDED, REFUSED, REVERSED, Verdict
from services.orders.repository import Change

STEPS = (AUTHORIZE, PAY, DECLINE, RELEASE)
"""In the sequence in which they can follow each other, because one batch may hold several answers about one order."""

log = structlog.get_logger()


class Settlement:
    """Takes orders further by the answers of Payments, whatever their sequence and however often they come."""

    def __init__(self, database: Database, outbox: Outbox, cached: CachedOrders) -> None:
        self._database = database
        self._outbox = outbox
        self._cached = cached

    @atomic
    async def settle(self, messages: Sequence[Event]) -> None:
        """Applies answers; what an order's status does not allow any more changes nothing."""
        verdicts = events.verdicts(messages)
        traces = {v.order_id: v.traceparent for kind in verdicts.values() for v in kind}
        now = datetime.now(UTC)
        changed: list[Order] = []
        refunded: list[Order] = []
        if REFUNDED in verdicts:
            await self._cached.forget(v.order_id for v in verdicts[REFUNDED])
        async with self._database.transaction() as tx:
            for step in STEPS:
                if step in verdicts:
                    changed += await self._take(tx, step, verdicts[step], now)
            if REVERSED in verdicts:
                refunded += await repository.reverse(tx, verdicts[REVERSED], now)
            if REFUNDED in verdicts:
                refunded += await repository.refund(tx, verdicts[REFUNDED], now)
            if REFUSED in verdicts:
                await repository.refuse_refunds(tx, verdicts[REFUSED])
            facts = [events.order_changed(order, traces[order.id]) for order in changed]
            facts += [events.order_refunded(order, traces[order.id]) for order in refunded]
            await self._outbox.add(tx, facts)
        metrics.count_changes(changed)
        metrics.time_payments(changed)
        for order in (*changed, *refunded):
            log.debug("order_settled", order_id=order.id, trace_id=trace_id(traces[order.id]))
        # The last state of each: the others were never to be seen.
        await self._cached.fill({order.id: order for order in changed}.values())

    async def _take(self, tx: Transaction, step: str, verdicts: Sequence[Verdict], now: datetime) -> list[Order]:
        stored = await repository.change(tx, Change(step, PAYMENT, now), verdicts)
        shipped = []
        if step == PAY and (to_ship := [s.order for s in stored if s.shipped_by]):
            # What the capture of the money was asked for.
            onwards = [Verdict(order.user_id, order.id, "") for order in to_ship]
            shipped = await repository.change(tx, Change(SHIP, ADMIN, now), onwards)
        return [s.order for s in (*stored, *shipped)]
