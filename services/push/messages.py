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

Fact = OrderAuthorized | OrderPaid | OrderShipped | OrderCanceled | OrderRefunded | OrderProcessed


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of message, and how the user and the data are read from its event."""

    type: str
    read: Callable[[bytes], tuple[str, Message]]
    whole: bool = True
    """Whether the event has all that REST shows; otherwise what it has not is left out."""


def _order(fact: type[Fact]) -> Callable[[bytes], tuple[str, Message]]:
    def read(payload: bytes) -> tuple[str, Message]:
        order = fact.FromString(payload).order
        return order.user_id, order

    return read


def _created(payload: bytes) -> tuple[str, Message]:
    event = OrderCreated.FromString(payload)
    order = Order(
        id=event.order_id,
        user_id=event.user_id,
        status=Order.PENDING,
        total_price=event.total_price,
        currency=event.currency,
        capture=event.capture,
        created_at=event.created_at,
        etag="1",
    )
    return event.user_id, order


def _payout(payload: bytes) -> tuple[str, Message]:
    payout = PayoutChanged.FromString(payload).payout
    return payout.user_id, payout


def _inventory(payload: bytes) -> tuple[str, Message]:
    event = InventoryChanged.FromString(payload)
    return event.user_id, event.item


def _balance(payload: bytes) -> tuple[str, Message]:
    account = BalanceChanged.FromString(payload).account
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
    topology.BALANCE_CHANGED: Kind("balance.changed", _balance),
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
    return kind.read(event.payload)[0]


def happened_at(event: Event) -> float:
    """Returns when an event was made, as Unix time in seconds: its id is a UUIDv7. Errors: ValueError."""
    return int(event.id[:8] + event.id[9:13], 16) / 1000


def news(event: Event, message_id: str) -> str:
    """Returns the message that tells of an event, as JSON."""
    kind = KINDS[event.subject]
    _, data = kind.read(event.payload)
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
