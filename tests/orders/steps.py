"""What tests of Orders do."""

from gozon.orders.v1.events_pb2 import OrderCreated
from gozon.orders.v1.orders_pb2 import CreateOrderRequest, Order, OrderItem
from gozon.payments.v1.events_pb2 import PaymentFailed, PaymentSucceeded
from kit.auth import Identity
from kit.events import Event
from kit.idempotency import key_of
from kit.ids import new_id
from services.orders.service import Created, OrderService


def somebody(user_id: str, role: str = "user") -> Identity:
    """A caller."""
    return Identity(user_id, frozenset({role}), float("inf"))


async def create(service: OrderService, user_id: str, *, key: str = "", amount: int = 500) -> Created:
    """Creates an order by amount, under a key if one is given."""
    request = CreateOrderRequest(amount=amount, description="tea")
    return await service.create_order(request, user_id, key_of(user_id, "CreateOrder", key, request) if key else None)


async def pending_order(service: OrderService, user_id: str = "") -> Order:
    """Creates an order with two lines."""
    items = [OrderItem(name="tea", quantity=2, price=150), OrderItem(name="cup", quantity=1, price=700)]
    request = CreateOrderRequest(items=items, description="for two")
    return (await service.create_order(request, user_id or new_id(), None)).order


def paid(order: Order) -> Event:
    """An event of Payments: the money was taken."""
    event = PaymentSucceeded(order_id=order.id, user_id=order.user_id, amount=order.total_price, currency="RUB")
    return Event(new_id(), "payments.succeeded", event.SerializeToString(), f"trace of {order.id}")


def declined(order: Order, reason: str = "INSUFFICIENT_FUNDS") -> Event:
    """An event of Payments: it can't be paid."""
    event = PaymentFailed(order_id=order.id, user_id=order.user_id, reason=reason)
    return Event(new_id(), "payments.failed", event.SerializeToString(), f"trace of {order.id}")


def asked_for(message: Event) -> str:
    """The order that an event `orders.created` asks the money for."""
    assert message.subject == "orders.created"
    return OrderCreated.FromString(message.payload).order_id
