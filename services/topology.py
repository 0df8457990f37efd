"""The subjects, streams and durable consumers of the system, all of them, in one place."""

from kit.bus import Stream
from kit.consumption import Consumer

ORDER_CREATED = "orders.created"
ORDER_AUTHORIZED = "orders.authorized"
ORDER_PAID = "orders.paid"
ORDER_SHIPPED = "orders.shipped"
ORDER_CANCELED = "orders.canceled"
ORDER_REFUNDED = "orders.refunded"
ORDER_PROCESSED = "orders.processed"
PROCESSING_REQUESTED = "orders.processing_requested"
CAPTURE_REQUESTED = "orders.capture_requested"
REVERSAL_REQUESTED = "orders.reversal_requested"
REFUND_REQUESTED = "orders.refund_requested"
PAYMENT_SUCCEEDED = "payments.succeeded"
PAYMENT_FAILED = "payments.failed"
PAYMENT_AUTHORIZED = "payments.authorized"
PAYMENT_RELEASED = "payments.released"
PAYMENT_REVERSED = "payments.reversed"
PAYMENT_REFUNDED = "payments.refunded"
REFUND_FAILED = "payments.refund_failed"
BALANCE_CHANGED = "payments.balance_changed"
PAYOUT_REQUESTED = "payouts.requested"
PAYOUT_CHANGED = "payouts.changed"
INVENTORY_CHANGED = "shop.inventory_changed"
PRODUCT_CHANGED = "shop.product_changed"

WEEK = 7 * 24 * 3600.0

ORDERS = Stream("ORDERS", ("orders.>",), max_age=WEEK)
PAYMENTS = Stream("PAYMENTS", ("payments.>",), max_age=WEEK)
PAYOUTS = Stream("PAYOUTS", ("payouts.>",), max_age=WEEK)
SHOP = Stream("SHOP", ("shop.>",), max_age=WEEK)

PUSH = Stream(
    "PUSH",
    (),
    max_age=3600.0,
    sources=(
        ("ORDERS", "orders.>"),
        ("PAYMENTS", "payments.>"),
        ("PAYOUTS", PAYOUT_CHANGED),
        ("SHOP", INVENTORY_CHANGED),
    ),
)
"""What users may be told of, in one order, so that a number in it means the same on every instance of push."""

PAYMENTS_CHARGE = Consumer(
    "payments-charge", "ORDERS", (ORDER_CREATED, CAPTURE_REQUESTED, REVERSAL_REQUESTED, REFUND_REQUESTED)
)
ORDERS_SETTLE = Consumer(
    "orders-settle",
    "PAYMENTS",
    (
        PAYMENT_SUCCEEDED,
        PAYMENT_FAILED,
        PAYMENT_AUTHORIZED,
        PAYMENT_RELEASED,
        PAYMENT_REVERSED,
        PAYMENT_REFUNDED,
        REFUND_FAILED,
    ),
)
PAYMENTS_FORGET = Consumer("payments-forget", "SHOP", (INVENTORY_CHANGED,))
"""Removes from the cache what has changed, should who changed it have died before."""

ORDERS_CATALOG = Consumer("orders-catalog", "SHOP", (PRODUCT_CHANGED,))
"""Keeps what orders need of products, so that nobody has to ask Payments for it."""

STREAMS = (ORDERS, PAYMENTS, PAYOUTS, SHOP)
CONSUMERS = (PAYMENTS_CHARGE, PAYMENTS_FORGET, ORDERS_SETTLE, ORDERS_CATALOG)
"""Those of the services."""

WORKERS_ORDERS = Consumer("workers-orders", "ORDERS", (ORDER_CREATED, PROCESSING_REQUESTED))
WORKERS_PAYOUTS = Consumer("workers-payouts", "PAYOUTS", (PAYOUT_REQUESTED,))
DISPATCHER_CONSUMERS = (WORKERS_ORDERS, WORKERS_PAYOUTS)
"""Those of background work: what waits there waits in NATS as long as the workers have enough to do."""
