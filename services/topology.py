"""The streams and durable consumers of the system, all of them, in one place."""

from kit.bus import Consumer, Stream

WEEK = 7 * 24 * 3600.0

ORDERS = Stream("ORDERS", ("orders.>",), max_age=WEEK)
PAYMENTS = Stream("PAYMENTS", ("payments.>",), max_age=WEEK)

PAYMENTS_CHARGE = Consumer("payments-charge", "ORDERS", ("orders.created",))
ORDERS_SETTLE = Consumer("orders-settle", "PAYMENTS", ("payments.succeeded", "payments.failed"))

STREAMS = (ORDERS, PAYMENTS)
CONSUMERS = (PAYMENTS_CHARGE, ORDERS_SETTLE)
