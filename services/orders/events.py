"""What others learn of orders, and what Orders learns from others."""

from collections.abc import Iterable
from dataclasses import dataclass

from gozon.orders.v1.events_pb2 import OrderCanceled, OrderCreated, OrderPaid
from gozon.orders.v1.orders_pb2 import Order
from gozon.payments.v1.events_pb2 import PaymentFailed, PaymentSucceeded
from kit.events import Event
from kit.ids import new_id
from services.orders.domain import CANCELED, PAID
from services.topology import ORDER_CANCELED, ORDER_CREATED, ORDER_PAID, PAYMENT_FAILED, PAYMENT_SUCCEEDED

SETTLED = (ORDER_PAID, ORDER_CANCELED)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What Payments decided about an order."""

    user_id: str
    order_id: str
    status: str
    cancel_reason: str
    traceparent: str


def order_created(order: Order, traceparent: str) -> Event:
    """Asks for the payment of an order."""
    event = OrderCreated(
        order_id=order.id,
        user_id=order.user_id,
        total_price=order.total_price,
        currency=order.currency,
        created_at=order.created_at,
    )
    return Event(new_id(), ORDER_CREATED, event.SerializeToString(), traceparent)


def order_settled(order: Order, traceparent: str) -> Event:
    """Tells that an order is PAID or CANCELED."""
    if order.status == Order.PAID:
        return Event(new_id(), ORDER_PAID, OrderPaid(order=order).SerializeToString(), traceparent)
    return Event(new_id(), ORDER_CANCELED, OrderCanceled(order=order).SerializeToString(), traceparent)


def settled_order(message: Event) -> Order:
    """Returns the order that one of the events SETTLED is about."""
    if message.subject == ORDER_PAID:
        return OrderPaid.FromString(message.payload).order
    return OrderCanceled.FromString(message.payload).order


def settlements(messages: Iterable[Event]) -> list[Settlement]:
    """Reads events of Payments. Errors: DecodeError or ValueError for a message that is not one."""
    return [_settlement(message) for message in messages]


def _settlement(message: Event) -> Settlement:
    if message.subject == PAYMENT_SUCCEEDED:
        succeeded = PaymentSucceeded.FromString(message.payload)
        return Settlement(succeeded.user_id, succeeded.order_id, PAID, "", message.traceparent)
    if message.subject != PAYMENT_FAILED:
        raise ValueError(f"{message.subject} is no answer of Payments")
    failed = PaymentFailed.FromString(message.payload)
    reason = PaymentFailed.Reason.Name(failed.reason)
    # The names agree; a reason that Orders does not know is a ValueError here rather than a wrong status.
    Order.CancelReason.Value(reason)
    return Settlement(failed.user_id, failed.order_id, CANCELED, reason, message.traceparent)
