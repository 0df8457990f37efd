"""What others learn of orders, and what Orders asks of Payments and learns from it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gozon.orders.v1.events_pb2 import (
    CaptureRequested,
    OrderAuthorized,
    OrderCanceled,
    OrderCreated,
    OrderPaid,
    OrderProcessed,
    OrderRefunded,
    OrderShipped,
    ProcessingRequested,
    RefundRequested,
    ReversalRequested,
)
from gozon.orders.v1.orders_pb2 import Order
from gozon.payments.v1.events_pb2 import (
    PaymentAuthorized,
    PaymentFailed,
    PaymentRefunded,
    PaymentReleased,
    PaymentReversed,
    PaymentSucceeded,
    RefundFailed,
)
from gozon.shop.v1.events_pb2 import ProductChanged
from kit.events import Event
from kit.ids import canonical, new_id
from services.orders.domain import AUTHORIZE, DECLINE, PAY, RELEASE
from services.topology import (
    CAPTURE_REQUESTED,
    ORDER_AUTHORIZED,
    ORDER_CANCELED,
    ORDER_CREATED,
    ORDER_PAID,
    ORDER_PROCESSED,
    ORDER_REFUNDED,
    ORDER_SHIPPED,
    PAYMENT_AUTHORIZED,
    PAYMENT_FAILED,
    PAYMENT_REFUNDED,
    PAYMENT_RELEASED,
    PAYMENT_REVERSED,
    PAYMENT_SUCCEEDED,
    PROCESSING_REQUESTED,
    REFUND_FAILED,
    REFUND_REQUESTED,
    REVERSAL_REQUESTED,
)

Fact = OrderAuthorized | OrderPaid | OrderShipped | OrderCanceled | OrderRefunded | OrderProcessed

FACTS: dict[str, type[Fact]] = {
    ORDER_AUTHORIZED: OrderAuthorized,
    ORDER_PAID: OrderPaid,
    ORDER_SHIPPED: OrderShipped,
    ORDER_CANCELED: OrderCanceled,
    ORDER_REFUNDED: OrderRefunded,
    ORDER_PROCESSED: OrderProcessed,
}
"""Events that tell of a change of an order; each carries the order after it."""

_FACT_OF: dict[Order.Status, str] = {
    Order.AUTHORIZED: ORDER_AUTHORIZED,
    Order.PAID: ORDER_PAID,
    Order.SHIPPED: ORDER_SHIPPED,
    Order.CANCELED: ORDER_CANCELED,
}


@dataclass(frozen=True, slots=True)
class Refund:
    """A part of what was paid for an order, in minor units, that is to be given back."""

    id: str
    order_id: str
    user_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about an order; what its kind has no use for is empty. Money in minor units."""

    user_id: str
    order_id: str
    traceparent: str
    cancel_reason: str = ""
    paid: int | None = None
    refunded: int = 0
    refund_id: str = ""


@dataclass(frozen=True, slots=True)
class Product:
    """What orders need of a product of the shop. Money in minor units; of two versions the larger one is newer."""

    id: str
    name: str
    price: int
    currency: str
    is_active: bool
    version: int


def order_created(order: Order, traceparent: str) -> Event:
    """Tells of a new order, and asks for its money."""
    event = OrderCreated(
        order_id=order.id,
        user_id=order.user_id,
        total_price=order.total_price,
        currency=order.currency,
        created_at=order.created_at,
        capture=order.capture,
    )
    return Event(new_id(), ORDER_CREATED, event.SerializeToString(), traceparent)


def capture_requested(order: Order, traceparent: str) -> Event:
    """Asks for the money that is held for an order."""
    event = CaptureRequested(order_id=order.id, user_id=order.user_id)
    return Event(new_id(), CAPTURE_REQUESTED, event.SerializeToString(), traceparent)


def reversal_requested(order: Order, traceparent: str) -> Event:
    """Asks to give back all that was held or taken for an order, and to take nothing any more."""
    event = ReversalRequested(
        order_id=order.id, user_id=order.user_id, total_price=order.total_price, currency=order.currency
    )
    return Event(new_id(), REVERSAL_REQUESTED, event.SerializeToString(), traceparent)


def refund_requested(refund: Refund, traceparent: str) -> Event:
    """Asks to give back a part of what was taken for an order."""
    event = RefundRequested(refund_id=refund.id, order_id=refund.order_id, user_id=refund.user_id, amount=refund.amount)
    return Event(new_id(), REFUND_REQUESTED, event.SerializeToString(), traceparent)


def processing_requested(order: Order, traceparent: str) -> Event:
    """Asks workers once more to process an order."""
    event = ProcessingRequested(order_id=order.id, user_id=order.user_id)
    return Event(new_id(), PROCESSING_REQUESTED, event.SerializeToString(), traceparent)


QUESTIONS: dict[Order.Status, Callable[[Order, str], Event]] = {
    Order.PENDING: order_created,
    Order.AUTHORIZED: capture_requested,
    Order.CANCELED: reversal_requested,
}
"""What an order that waits for an answer of Payments asks, by its status."""


def order_changed(order: Order, traceparent: str) -> Event:
    """Tells that an order came to its status."""
    return _fact(_FACT_OF[order.status], order, traceparent)


def order_refunded(order: Order, traceparent: str) -> Event:
    """Tells that money came back."""
    return _fact(ORDER_REFUNDED, order, traceparent)


def order_processed(order: Order, traceparent: str) -> Event:
    """Tells that a worker has processed an order."""
    return _fact(ORDER_PROCESSED, order, traceparent)


def _fact(subject: str, order: Order, traceparent: str) -> Event:
    return Event(new_id(), subject, FACTS[subject](order=order).SerializeToString(), traceparent)


def changed_order(message: Event) -> Order:
    """Returns the order that one of the FACTS is about, as it was after the change."""
    return FACTS[message.subject].FromString(message.payload).order


def products(news: Iterable[Event]) -> dict[str, Product]:
    """Reads news of the shop, and returns what is newest of each product, by its id.

    Errors: DecodeError or ValueError for an event that tells of no product.
    """
    newest: dict[str, Product] = {}
    for event in news:
        told = ProductChanged.FromString(event.payload).product
        product = Product(
            canonical(told.id), told.name, told.price, told.currency, told.is_active, version=int(told.etag)
        )
        if product.price <= 0:
            raise ValueError("a product without a price")
        if product.id not in newest or newest[product.id].version < product.version:
            newest[product.id] = product
    return newest


REVERSED = "REVERSED"
REFUNDED = "REFUNDED"
REFUSED = "REFUSED"
"""Kinds of answers that are no step of the state machine: all came back, a refund came back, a refund did not."""


def verdicts(messages: Iterable[Event]) -> dict[str, list[Verdict]]:
    """Reads answers of Payments, and sorts them by step or kind.

    Errors: DecodeError or ValueError for a message that is not one.
    """
    by_kind: dict[str, list[Verdict]] = {}
    for message in messages:
        if message.subject not in _READERS:
            raise ValueError(f"{message.subject} is no answer of Payments")
        kind, read = _READERS[message.subject]
        by_kind.setdefault(kind, []).append(read(message))
    return by_kind


def _succeeded(message: Event) -> Verdict:
    event = PaymentSucceeded.FromString(message.payload)
    return Verdict(event.user_id, event.order_id, message.traceparent, paid=event.amount)


def _failed(message: Event) -> Verdict:
    event = PaymentFailed.FromString(message.payload)
    reason = _known(PaymentFailed.Reason.Name(event.reason))
    return Verdict(event.user_id, event.order_id, message.traceparent, cancel_reason=reason)


def _authorized(message: Event) -> Verdict:
    event = PaymentAuthorized.FromString(message.payload)
    return Verdict(event.user_id, event.order_id, message.traceparent)


def _released(message: Event) -> Verdict:
    event = PaymentReleased.FromString(message.payload)
    reason = _known(PaymentReleased.Reason.Name(event.reason))
    return Verdict(event.user_id, event.order_id, message.traceparent, cancel_reason=reason)


def _reversed(message: Event) -> Verdict:
    event = PaymentReversed.FromString(message.payload)
    return Verdict(event.user_id, event.order_id, message.traceparent, paid=event.paid, refunded=event.refunded)


def _refunded(message: Event) -> Verdict:
    event = PaymentRefunded.FromString(message.payload)
    return Verdict(event.user_id, event.order_id, message.traceparent, refund_id=event.refund_id)


def _refused(message: Event) -> Verdict:
    event = RefundFailed.FromString(message.payload)
    return Verdict(event.user_id, event.order_id, message.traceparent, refund_id=event.refund_id)


def _known(reason: str) -> str:
    # The names agree; a reason that Orders does not know is a ValueError here rather than a wrong status.
    Order.CancelReason.Value(reason)
    return reason


_READERS: dict[str, tuple[str, Callable[[Event], Verdict]]] = {
    PAYMENT_SUCCEEDED: (PAY, _succeeded),
    PAYMENT_FAILED: (DECLINE, _failed),
    PAYMENT_AUTHORIZED: (AUTHORIZE, _authorized),
    PAYMENT_RELEASED: (RELEASE, _released),
    PAYMENT_REVERSED: (REVERSED, _reversed),
    PAYMENT_REFUNDED: (REFUNDED, _refunded),
    REFUND_FAILED: (REFUSED, _refused),
}
