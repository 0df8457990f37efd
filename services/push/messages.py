"""What users are told of events, and in which words: those of REST."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from gozon.orders.v1.events_pb2 import (
    OrderAuthorized,
    OrderCanceled,
    OrderCreated,
    OrderPaid,
    OrderProcessed,
    OrderRefunded,
    OrderShipped,
)
from gozon.orders.v1.orders_pb2 import Order
from gozon.payments.v1.events_pb2 import BalanceChanged
from gozon.payouts.v1.events_pb2 import PayoutChanged
from gozon.shop.v1.events_pb2 import InventoryChanged
from kit.events import Event
from services import topology

CREATED_SECONDS = 15.0
"""An event `orders.created` this much younger than its order asks for the money once more (after 30 s at least)."""

BALANCES = (
    topology.BALANCE_CHANGED,
    topology.PAYMENT_SUCCEEDED,
    topology.PAYMENT_AUTHORIZED,
    topology.PAYMENT_RELEASED,
    topology.PAYMENT_REVERSED,
    topology.PAYMENT_REFUNDED,
)
"""Events that may say what is on an account, all in the same field."""

Read = Callable[[Event], tuple[str, Message]]
Fact = OrderAuthorized | OrderPaid | OrderShipped | OrderCanceled | OrderRefunded | OrderProcessed


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of message, and how the user (empty: nobody is told) and the data are read from its event."""

    type: str
    read: Read
    whole: bool = True
    """Whether the event has all that REST shows; otherwise what it has not is left out."""


def _order(fact: type[Fact]) -> Read:
    def read(event: Event) -> tuple[str, Message]:
        order = fact.FromString(event.payload).order
        return order.user_id, order

    return read


def _created(event: Event) -> tuple[str, Message]:
    created = OrderCreated.FromString(event.payload)
    order = Order(
        id=created.order_id,
        user_id=created.user_id,
        status=Order.PENDING,
        total_price=created.total_price,
        currency=created.currency,
        capture=created.capture,
        created_at=created.created_at,
        etag="1",
    )
    is_news = happened_at(event) < created.created_at.ToMicroseconds() / 1e6 + CREATED_SECONDS
    return created.user_id if is_news else "", order


def _payout(event: Event) -> tuple[str, Message]:
    payout = PayoutChanged.FromString(event.payload).payout
    return payout.user_id, payout


def _inventory(event: Event) -> tuple[str, Message]:
    changed = InventoryChanged.FromString(event.payload)
    return changed.user_id, changed.item


def _balance(event: Event) -> tuple[str, Message]:
    account = BalanceChanged.FromString(event.payload).account
    return account.user_id, account


KINDS: dict[str, Kind] = {
    topology.ORDER_CREATED: Kind("order.created", _created, whole=False),
    topology.ORDER_AUTHORIZED: Kind("order.authorized", _order(OrderAuthorized)),
    topology.ORDER_PAID: Kind("order.paid", _order(OrderPaid)),
    topology.ORDER_SHIPPED: Kind("order.shipped", _order(OrderShipped)),
    topology.ORDER_CANCELED: Kind("order.canceled", _order(OrderCanceled)),
    topology.ORDER_REFUNDED: Kind("order.refunded", _order(OrderRefunded)),
    topology.ORDER_PROCESSED: Kind("order.processed", _order(OrderProcessed)),
    topology.PAYOUT_CHANGED: Kind("payout.changed", _payout),
    topology.INVENTORY_CHANGED: Kind("inventory.changed", _inventory),
    **dict.fromkeys(BALANCES, Kind("balance.changed", _balance)),
}
"""By subject, all that users are told of."""


def owner(event: Event) -> str:
    """Returns the id of the user whom an event concerns; empty when it concerns none.

    Errors: DecodeError or ValueError when it can't be read.
    """
    kind = KINDS.get(event.subject)
    if kind is None:
        return ""
    happened_at(event)
    return kind.read(event)[0]


def happened_at(event: Event) -> float:
    """Returns when an event was made, as Unix time in seconds: its id is a UUIDv7. Errors: ValueError."""
    return int(event.id[:8] + event.id[9:13], 16) / 1000


def news(event: Event, message_id: str) -> str:
    """Returns the message that tells of an event, as JSON."""
    kind = KINDS[event.subject]
    _, data = kind.read(event)
    return _text(
        id=message_id,
        type=kind.type,
        at=_moment(happened_at(event)),
        data=MessageToDict(
            data, preserving_proto_field_name=True, always_print_fields_with_no_presence=kind.whole
        ),
    )  # fmt: skip


def greeting(name: str, message_id: str, at: float, expires_at: float) -> str:
    """Returns the message `hello` or `resync`, as JSON; times are Unix times in seconds."""
    return _text(id=message_id, type=name, at=_moment(at), expires_at=_moment(expires_at))


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(**members: Any) -> str:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))
