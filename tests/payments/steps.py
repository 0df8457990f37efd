"""What tests of Payments do and look at."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from gozon.orders.v1.events_pb2 import CaptureRequested, OrderCreated, RefundRequested, ReversalRequested
from gozon.orders.v1.orders_pb2 import Order
from gozon.payments.v1 import events_pb2
from kit.db import Database
from kit.events import Event
from kit.idempotency import Key
from kit.ids import new_id
from kit.outbox import Outbox
from services import topology
from services.payments.domain import HoldRequest, Limits
from services.payments.service import Deposited, Held, PaymentService
from tests.support import disconnected_bus, outbox_of

ADMIN_ID = new_id()
ANSWERS: dict[str, type[Any]] = {
    topology.PAYMENT_SUCCEEDED: events_pb2.PaymentSucceeded,
    topology.PAYMENT_FAILED: events_pb2.PaymentFailed,
    topology.PAYMENT_AUTHORIZED: events_pb2.PaymentAuthorized,
    topology.PAYMENT_RELEASED: events_pb2.PaymentReleased,
    topology.PAYMENT_REVERSED: events_pb2.PaymentReversed,
    topology.PAYMENT_REFUNDED: events_pb2.PaymentRefunded,
    topology.REFUND_FAILED: events_pb2.RefundFailed,
}


def service_on(database: Database, limits: Limits = Limits()) -> PaymentService:  # noqa: B008 - frozen
    """One more instance of the service, with an outbox that keeps its messages."""
    return PaymentService(database, Outbox(database, disconnected_bus()), limits)


def order_created(
    user_id: str, amount: int, *, order_id: str = "", currency: str = "RUB", manual: bool = False
) -> Event:
    """An event of Orders that asks for money, to be taken or to be held."""
    order_id = order_id or new_id()
    capture = Order.MANUAL if manual else Order.AUTOMATIC
    return _event(
        topology.ORDER_CREATED,
        OrderCreated(order_id=order_id, user_id=user_id, total_price=amount, currency=currency, capture=capture),
    )


def capture_of(order: Event) -> Event:
    """Asks for what is held for an order."""
    created = _created(order)
    asked = CaptureRequested(order_id=created.order_id, user_id=created.user_id)
    return _event(topology.CAPTURE_REQUESTED, asked)


def reversal_of(order: Event) -> Event:
    """Asks for all that an order has cost."""
    created = _created(order)
    asked = ReversalRequested(
        order_id=created.order_id,
        user_id=created.user_id,
        total_price=created.total_price,
        currency=created.currency,
    )
    return _event(topology.REVERSAL_REQUESTED, asked)


def refund_of(order: Event, amount: int) -> Event:
    """Asks for a part of what an order has cost."""
    created = _created(order)
    asked = RefundRequested(refund_id=new_id(), order_id=created.order_id, user_id=created.user_id, amount=amount)
    return _event(topology.REFUND_REQUESTED, asked)


def asked_again(message: Event) -> Event:
    """The same question in a new message, as the sweep of Orders asks it."""
    return Event(new_id(), message.subject, message.payload, message.traceparent)


def order_of(order: Event) -> str:
    """The id of an order that asks for money."""
    return _created(order).order_id


def owner_of(order: Event) -> str:
    """The owner of an order that asks for money."""
    return _created(order).user_id


async def deposit(
    service: PaymentService, user_id: str, amount: int, *, key: str = "", currency: str = ""
) -> Deposited:
    """Adds money under a key, a new one if none is given."""
    request_hash = f"{amount} {currency}".encode()
    return await service.deposit(user_id, amount, currency, Key(user_id, "Deposit", key or new_id(), request_hash))


async def hold(service: PaymentService, user_id: str, amount: int, *, order_id: str = "", key: str = "") -> Held:
    """Holds money for an order, a new one if none is given, as an admin asks for it."""
    request = HoldRequest(user_id, order_id or new_id(), amount)
    return await service.create_hold(request, Key(ADMIN_ID, "CreateHold", key or new_id(), str(request).encode()))


async def account_with(service: PaymentService, amount: int, *, currency: str = "") -> str:
    """Opens an account, puts money into it if any, and returns its owner."""
    user_id = new_id()
    await service.open_account(user_id, currency)
    if amount:
        await deposit(service, user_id, amount)
    return user_id


async def balance_of(service: PaymentService, user_id: str) -> int:
    """The money of a user."""
    return (await service.get_account(user_id)).balance


async def money_of(service: PaymentService, user_id: str) -> tuple[int, int]:
    """What of a user's money is available, and what is held."""
    account = await service.get_account(user_id)
    assert account.balance == account.available + account.held
    return account.available, account.held


async def told(database: Database) -> list[Any]:
    """The messages that wait in the outbox, oldest first."""
    return [ANSWERS[event.subject].FromString(event.payload) for event in await outbox_of(database)]


async def answers(database: Database) -> list[tuple[str, str]]:
    """What waits in the outbox: pairs of order and what was decided about it, oldest first."""
    return [answer(event) for event in await outbox_of(database)]


def answer(event: Event) -> tuple[str, str]:
    """Reads an event of Payments: the order, and the reason why not, or what became of it: SUCCEEDED, RELEASED…"""
    message = ANSWERS[event.subject].FromString(event.payload)
    if event.subject in (topology.PAYMENT_FAILED, topology.PAYMENT_RELEASED):
        return message.order_id, type(message).Reason.Name(message.reason)
    return message.order_id, event.subject.removeprefix("payments.").upper()


def outcomes(told: Sequence[tuple[str, str]]) -> Counter[str]:
    """Counts answers by what they say."""
    return Counter(outcome for _, outcome in told)


def _event(subject: str, message: Message) -> Event:
    return Event(new_id(), subject, message.SerializeToString(), f"trace of {new_id()}")


def _created(order: Event) -> OrderCreated:
    assert order.subject == topology.ORDER_CREATED
    return OrderCreated.FromString(order.payload)
