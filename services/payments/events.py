"""What others learn of payments, and what Payments learns from others."""

from datetime import datetime

from gozon.orders.v1.events_pb2 import OrderCreated
from gozon.payments.v1.events_pb2 import PaymentFailed, PaymentSucceeded
from kit.events import Event
from kit.ids import new_id
from services.payments.domain import SUCCEEDED, Charge, ChargeRequest
from services.topology import PAYMENT_FAILED, PAYMENT_SUCCEEDED


def charge_request(message: Event) -> ChargeRequest:
    """Reads the event `orders.created`. Errors: DecodeError or ValueError for a message that is not one."""
    event = OrderCreated.FromString(message.payload)
    if event.total_price <= 0 or not event.order_id or not event.user_id:
        raise ValueError("an order without an id, an owner or a price")
    return ChargeRequest(event.user_id, event.order_id, event.total_price, event.currency, message.traceparent)


def charge_decided(charge: Charge, at: datetime) -> Event:
    """Tells that an order is paid, or that it can't be."""
    request = charge.request
    if charge.status == SUCCEEDED:
        succeeded = PaymentSucceeded(
            order_id=request.order_id, user_id=request.user_id, amount=request.amount, currency=request.currency
        )
        succeeded.paid_at.FromDatetime(at)
        return Event(new_id(), PAYMENT_SUCCEEDED, succeeded.SerializeToString(), request.traceparent)
    failed = PaymentFailed(order_id=request.order_id, user_id=request.user_id, reason=charge.reason)
    failed.failed_at.FromDatetime(at)
    return Event(new_id(), PAYMENT_FAILED, failed.SerializeToString(), request.traceparent)
