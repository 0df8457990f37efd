"""What others learn of payments, and what Payments learns from others."""

from collections.abc import Iterable, Sequence

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gozon.orders.v1.events_pb2 import CaptureRequested, OrderCreated, RefundRequested, ReversalRequested
from gozon.orders.v1.orders_pb2 import Order
from gozon.payments.v1.events_pb2 import (
    BalanceChanged,
    PaymentAuthorized,
    PaymentFailed,
    PaymentRefunded,
    PaymentReleased,
    PaymentReversed,
    PaymentSucceeded,
    RefundFailed,
)
from gozon.payments.v1.payments_pb2 import Account
from gozon.payouts.v1.events_pb2 import PayoutChanged, PayoutRequested
from gozon.payouts.v1.payouts_pb2 import Payout
from gozon.shop.v1.events_pb2 import InventoryChanged, ProductChanged
from gozon.shop.v1.shop_pb2 import InventoryItem, Product
from kit.events import Event
from kit.ids import new_id
from services import topology
from services.payments import ledger
from services.payments.domain import (
    AUTHORIZED,
    CAPTURED,
    FAILED,
    ORDERS,
    RELEASED,
    SUCCEEDED,
    CaptureRequest,
    ChargeRequest,
    Payment,
    Refund,
    RefundRequest,
    Request,
    ReversalRequest,
)


def request_of(message: Event) -> Request:
    """Reads an event of Orders. Errors: DecodeError or ValueError for a message that asks for nothing."""
    match message.subject:
        case topology.ORDER_CREATED:
            created = OrderCreated.FromString(message.payload)
            manual = created.capture == Order.MANUAL
            request: Request = ChargeRequest(
                created.user_id, created.order_id, _positive(created.total_price), created.currency, manual
            )
        case topology.CAPTURE_REQUESTED:
            capture = CaptureRequested.FromString(message.payload)
            request = CaptureRequest(capture.user_id, capture.order_id)
        case topology.REVERSAL_REQUESTED:
            reversal = ReversalRequested.FromString(message.payload)
            request = ReversalRequest(
                reversal.user_id, reversal.order_id, _positive(reversal.total_price), reversal.currency
            )
        case topology.REFUND_REQUESTED:
            refund = RefundRequested.FromString(message.payload)
            request = RefundRequest(refund.user_id, refund.order_id, refund.refund_id, _positive(refund.amount))
        case _:
            raise ValueError(f"{message.subject} asks for nothing")
    if not request.order_id or not request.user_id:
        raise ValueError("no order, or nobody's")
    return request


def answer(request: Request, outcome: Payment | Refund, at: Timestamp, traceparent: str) -> Event:
    """Tells what came of a request."""
    if isinstance(outcome, Refund):
        return _refund_decided(outcome, traceparent)
    if isinstance(request, ReversalRequest):
        return _reversed(outcome, at, traceparent)
    return payment_is(outcome, at, traceparent)


def payment_is(payment: Payment, at: Timestamp, traceparent: str) -> Event:
    """Tells where a payment stands."""
    order_id, user_id, currency = payment.order_id, payment.user_id, payment.currency
    if payment.status == CAPTURED:
        succeeded = PaymentSucceeded(
            order_id=order_id, user_id=user_id, amount=payment.captured, currency=currency, paid_at=at
        )
        return _event(topology.PAYMENT_SUCCEEDED, succeeded, traceparent)
    if payment.status == FAILED:
        failed = PaymentFailed(order_id=order_id, user_id=user_id, reason=payment.reason, failed_at=at)
        return _event(topology.PAYMENT_FAILED, failed, traceparent)
    if payment.status == AUTHORIZED:
        authorized = PaymentAuthorized(
            order_id=order_id, user_id=user_id, amount=payment.amount, currency=currency, expires_at=payment.expires_at
        )
        return _event(topology.PAYMENT_AUTHORIZED, authorized, traceparent)
    if payment.status == RELEASED:
        released = PaymentReleased(order_id=order_id, user_id=user_id, reason=payment.reason, released_at=at)
        return _event(topology.PAYMENT_RELEASED, released, traceparent)
    return _reversed(payment, at, traceparent)


def payout_requested(payout_id: str, user_id: str, traceparent: str) -> Event:
    """Asks workers to pay a payout."""
    return _event(topology.PAYOUT_REQUESTED, PayoutRequested(payout_id=payout_id, user_id=user_id), traceparent)


def payout_changed(payout: Payout, traceparent: str) -> Event:
    """Tells where a payout stands; its recipient is masked."""
    return _event(topology.PAYOUT_CHANGED, PayoutChanged(payout=payout), traceparent)


def shown(account: ledger.Account) -> Account:
    """Returns an account as its owner sees it."""
    return Account(
        user_id=account.user_id,
        currency=account.currency,
        balance=account.balance,
        held=account.held,
        available=account.available,
        created_at=account.created_at,
        updated_at=account.updated_at,
    )


def account_opened(account: Account, traceparent: str) -> Event:
    """Tells what is on a new account: nothing."""
    return _event(topology.BALANCE_CHANGED, BalanceChanged(account=account), traceparent)


def balances_changed(moved: Iterable[ledger.Account], traceparent: str) -> list[Event]:
    """Tells what is on the accounts whose money was moved."""
    return [_event(topology.BALANCE_CHANGED, _balance(account), traceparent) for account in moved]


def with_balances(answers: Sequence[tuple[str, Event]], moved: Iterable[ledger.Account]) -> list[Event]:
    """Adds to answers, pairs of a user and an event, what is on the accounts whose money was moved.

    The last answer to each user has it. An event of its own would cost each order some 5 %.
    """
    events = [event for _, event in answers]
    last = {user_id: number for number, (user_id, _) in enumerate(answers)}
    for account in moved:
        answer = events[last[account.user_id]]
        # What protobuf makes of the bytes of two messages after each other is one with the fields of both.
        payload = answer.payload + _balance(account).SerializeToString()
        events[last[account.user_id]] = Event(answer.id, answer.subject, payload, answer.traceparent)
    return events


def _balance(account: ledger.Account) -> BalanceChanged:
    return BalanceChanged(account=shown(account))


def inventory_changed(user_id: str, item: InventoryItem, traceparent: str) -> Event:
    """Tells what a user owns of a product."""
    return _event(topology.INVENTORY_CHANGED, InventoryChanged(user_id=user_id, item=item), traceparent)


def product_changed(product: Product, traceparent: str) -> Event:
    """Tells what a product is now."""
    return _event(topology.PRODUCT_CHANGED, ProductChanged(product=product), traceparent)


def _positive(amount: int) -> int:
    if amount <= 0:
        raise ValueError("no amount")
    return amount


def _reversed(payment: Payment, at: Timestamp, traceparent: str) -> Event:
    ours = payment.requested_by == ORDERS
    event = PaymentReversed(
        order_id=payment.order_id,
        user_id=payment.user_id,
        # What an admin took before the order asked was never paid for it.
        paid=payment.captured if ours else 0,
        refunded=payment.refunded if ours else 0,
        reversed_at=at,
    )
    return _event(topology.PAYMENT_REVERSED, event, traceparent)


def _refund_decided(refund: Refund, traceparent: str) -> Event:
    refund_id, order_id, user_id, at = refund.refund_id, refund.order_id, refund.user_id, refund.created_at
    if refund.status == SUCCEEDED:
        amount, total = refund.amount, refund.refunded
        refunded = PaymentRefunded(
            refund_id=refund_id, order_id=order_id, user_id=user_id, amount=amount, refunded=total, refunded_at=at
        )
        return _event(topology.PAYMENT_REFUNDED, refunded, traceparent)
    failed = RefundFailed(refund_id=refund_id, order_id=order_id, user_id=user_id, failed_at=at)
    return _event(topology.REFUND_FAILED, failed, traceparent)


def _event(subject: str, message: Message, traceparent: str) -> Event:
    return Event(new_id(), subject, message.SerializeToString(), traceparent)
