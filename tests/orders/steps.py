"""What tests of Orders do."""

from typing import Any

from gozon.orders.v1.events_pb2 import CaptureRequested, OrderCreated, RefundRequested, ReversalRequested
from gozon.orders.v1.orders_pb2 import CreateOrderRequest, Order, OrderChange, OrderItem, RefundOrderRequest
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
from gozon.shop.v1.shop_pb2 import Product
from kit.auth import Identity
from kit.db import Database
from kit.events import Event
from kit.idempotency import key_of
from kit.ids import new_id
from services.orders.catalog import Catalog
from services.orders.events import FACTS, changed_order
from services.orders.service import Answered, OrderService, Update
from services.orders.settlement import Settlement
from tests.support import outbox_of

QUESTIONS: dict[str, type[Any]] = {
    "orders.created": OrderCreated,
    "orders.capture_requested": CaptureRequested,
    "orders.reversal_requested": ReversalRequested,
    "orders.refund_requested": RefundRequested,
}


def somebody(user_id: str, role: str = "user") -> Identity:
    """A caller."""
    return Identity(user_id, frozenset({role}), float("inf"))


ADMIN = somebody(new_id(), "admin")


def owner(order: Order) -> Identity:
    """The owner of an order as a caller."""
    return somebody(order.user_id)


def impatient(caller: Identity) -> Identity:
    """A caller whose token has expired in the meantime, who therefore waits for no answer."""
    return Identity(caller.user_id, caller.roles, 0)


async def create(service: OrderService, user_id: str, *, key: str = "", amount: int = 500) -> Answered:
    """Creates an order by amount, under a key if one is given."""
    request = CreateOrderRequest(amount=amount, description="tea")
    return await service.create_order(request, user_id, key_of(user_id, "CreateOrder", key, request) if key else None)


async def pending_order(service: OrderService, user_id: str = "", capture: Order.Capture = Order.AUTOMATIC) -> Order:
    """Creates an order with two lines that cost 1,000."""
    items = [OrderItem(name="tea", quantity=2, price=150), OrderItem(name="cup", quantity=1, price=700)]
    request = CreateOrderRequest(items=items, description="for two", capture=capture)
    return (await service.create_order(request, user_id or new_id(), None)).order


async def order_in(status: Order.Status, service: OrderService, settlement: Settlement) -> Order:
    """Takes a new order to a status."""
    order = await pending_order(service, capture=Order.MANUAL if status == Order.AUTHORIZED else Order.AUTOMATIC)
    if status == Order.AUTHORIZED:
        await settlement.settle([authorized(order)])
    if status in (Order.PAID, Order.SHIPPED):
        await settlement.settle([paid(order)])
    if status == Order.SHIPPED:
        await service.update_order(order.id, ADMIN, Update(status="SHIPPED"))
    if status == Order.CANCELED:
        await settlement.settle([declined(order)])
    return await service.get_order(order.id, ADMIN)


def product_told(product_id: str, version: int = 1, **fields: Any) -> Event:
    """An event of the shop: a tea for 150 rubles, on sale, or as it is said."""
    told = Product(id=product_id, name="tea", price=150, currency="RUB", is_active=True, etag=str(version))
    for name, value in fields.items():
        setattr(told, name, value)
    return Event(new_id(), "shop.product_changed", ProductChanged(product=told).SerializeToString(), "")


async def priced(catalog: Catalog, product_id: str) -> tuple[str, int]:
    """What an order that names a product is told: its name and price. Errors: as Catalog.priced."""
    [[item], _] = await catalog.priced([OrderItem(product_id=product_id, quantity=1)], "")
    return item.name, item.price


async def refund(
    service: OrderService, order: Order, amount: int, *, key: str = "", caller: Identity | None = None
) -> Answered:
    """Asks for a refund, by default as an admin who does not wait for the answer."""
    request = RefundOrderRequest(order_id=order.id, amount=amount, description="broken")
    claim = key_of(ADMIN.user_id, "RefundOrder", key or new_id(), request)
    return await service.refund_order(request, caller or impatient(ADMIN), claim)


def _answer(subject: str, event: Any) -> Event:
    return Event(new_id(), subject, event.SerializeToString(), f"trace of {event.order_id}")


def paid(order: Order, amount: int = 0) -> Event:
    """An event of Payments: the money was taken, all of it or less."""
    event = PaymentSucceeded(
        order_id=order.id, user_id=order.user_id, amount=amount or order.total_price, currency="RUB"
    )
    return _answer("payments.succeeded", event)


def declined(order: Order, reason: str = "INSUFFICIENT_FUNDS") -> Event:
    """An event of Payments: it can't be paid."""
    return _answer("payments.failed", PaymentFailed(order_id=order.id, user_id=order.user_id, reason=reason))


def authorized(order: Order) -> Event:
    """An event of Payments: the money is held."""
    event = PaymentAuthorized(order_id=order.id, user_id=order.user_id, amount=order.total_price, currency="RUB")
    return _answer("payments.authorized", event)


def released(order: Order, reason: str = "EXPIRED") -> Event:
    """An event of Payments: the money is held no longer."""
    return _answer("payments.released", PaymentReleased(order_id=order.id, user_id=order.user_id, reason=reason))


def reversed_(order: Order, amount: int) -> Event:
    """An event of Payments: all that was taken came back."""
    event = PaymentReversed(order_id=order.id, user_id=order.user_id, paid=amount, refunded=amount)
    return _answer("payments.reversed", event)


def refunded(asked: RefundRequested) -> Event:
    """An event of Payments: a refund came back."""
    event = PaymentRefunded(
        refund_id=asked.refund_id, order_id=asked.order_id, user_id=asked.user_id, amount=asked.amount
    )
    return _answer("payments.refunded", event)


def refused(asked: RefundRequested) -> Event:
    """An event of Payments: a refund was too large."""
    event = RefundFailed(refund_id=asked.refund_id, order_id=asked.order_id, user_id=asked.user_id)
    return _answer("payments.refund_failed", event)


def asked_for(message: Event) -> str:
    """The order that an event `orders.created` asks the money for."""
    assert message.subject == "orders.created"
    return OrderCreated.FromString(message.payload).order_id


async def asked(database: Database, subject: str) -> list[Any]:
    """What waits in the outbox of a kind of question, oldest first."""
    return [QUESTIONS[subject].FromString(m.payload) for m in await outbox_of(database) if m.subject == subject]


async def told(database: Database, order: Order) -> list[tuple[str, Order]]:
    """The facts about an order that wait in the outbox, oldest first: subject and the order in it."""
    facts = [(m.subject, changed_order(m)) for m in await outbox_of(database) if m.subject in FACTS]
    return [(subject, one) for subject, one in facts if one.id == order.id]


async def history_of(service: OrderService, order: Order) -> list[tuple[str, str, int]]:
    """What happened to an order: status, cause, what was given back."""
    changes = await service.list_history(order.id, owner(order))
    return [(Order.Status.Name(c.status), OrderChange.Cause.Name(c.cause), c.refunded) for c in changes]
