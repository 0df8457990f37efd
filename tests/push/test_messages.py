"""What is told of which event."""

import json
import time
import uuid

import pytest
from google.protobuf.message import DecodeError

from gozon.orders.v1.events_pb2 import OrderCreated
from kit.events import Event
from kit.ids import new_id
from services import topology
from services.push import messages
from services.push.messages import CREATED_SECONDS, KINDS

ANN = new_id()


def created(age: float) -> Event:
    """Makes the event of an order that is so many seconds old."""
    payload = OrderCreated(order_id=new_id(), user_id=ANN, total_price=5, currency="RUB")
    payload.created_at.FromMicroseconds(int((time.time() - age) * 1e6))
    return Event(new_id(), topology.ORDER_CREATED, payload.SerializeToString(), "")


def test_an_order_that_asks_for_its_money_once_more_is_no_news() -> None:
    assert messages.owner(created(0)) == ANN
    assert messages.owner(created(CREATED_SECONDS - 1)) == ANN
    assert messages.owner(created(CREATED_SECONDS + 1)) == ""


def test_a_message_says_what_happened_when_and_to_what() -> None:
    event = created(0)
    message = json.loads(messages.news(event, "an-id"))
    assert (message["id"], message["type"], message["data"]["total_price"]) == ("an-id", "order.created", "5")
    assert abs(messages.happened_at(event) - time.time()) < 60
    assert message["at"].endswith("Z")


def test_what_nobody_is_told_of_has_no_owner() -> None:
    assert messages.owner(Event(new_id(), topology.CAPTURE_REQUESTED, created(0).payload, "")) == ""


@pytest.mark.parametrize("subject", KINDS)
def test_what_can_not_be_read_is_an_error(subject: str) -> None:
    with pytest.raises(DecodeError):
        messages.owner(Event(new_id(), subject, b"\xff\xff\xff", ""))
    with pytest.raises(ValueError, match="invalid literal"):
        messages.owner(Event("no id of ours", subject, created(0).payload, ""))
    assert messages.owner(Event(str(uuid.uuid4()), subject, b"", "")) == ""
