"""What Orders counts: the orders it accepted, the statuses they came to, and how long their payment took."""

import time
from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import Counter, Histogram

from gozon.orders.v1.orders_pb2 import Order

CREATED = Counter("orders_created", "Orders accepted")
CHANGED = Counter("orders_changed", "Orders that came to a status", ["status"])
SETTLE_SECONDS = Histogram(
    "order_settle_seconds",
    "From an order's creation until it is known to be PAID, or AUTHORIZED with capture MANUAL",
    buckets=(0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 30, 60),
)
# From the beginning, so that the first of a kind makes a difference of one.
_CHANGED = {
    status: CHANGED.labels(Order.Status.Name(status))
    for status in (Order.AUTHORIZED, Order.PAID, Order.SHIPPED, Order.CANCELED)
}


def count_changes(orders: Sequence[Order]) -> None:
    """Counts orders that came to their status."""
    for status, orders_of_it in Tally(order.status for order in orders).items():
        _CHANGED[status].inc(orders_of_it)


def time_payments(orders: Sequence[Order]) -> None:
    """Measures how long the payment took of those orders for which that has just become known."""
    now = time.time()
    for order in orders:
        if order.status == (Order.AUTHORIZED if order.capture == Order.MANUAL else Order.PAID):
            created_at = order.created_at
            # The clock of another instance may be ahead.
            SETTLE_SECONDS.observe(max(0.0, now - created_at.seconds - created_at.nanos / 1e9))
