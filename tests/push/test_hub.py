"""What the hub remembers, tells and forgets, without a socket."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from gozon.orders.v1.events_pb2 import OrderPaid
from gozon.orders.v1.orders_pb2 import Order
from kit.events import Event
from kit.ids import new_id
from services.push.domain import WHOLE_ENVELOPE, MessageId, Position
from services.push.hub import (
    HELLO,
    MAX_IDS,
    OVERHEAD_BYTES,
    REPEAT_SECONDS,
    RESUME_SECONDS,
    RESYNC,
    Fell,
    Hub,
    Listener,
)
from services.topology import CAPTURE_REQUESTED, ORDER_PAID

LIFE = "1a"
ANN, BOB = new_id(), new_id()
ROOM = 10**9


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


class Stream:
    """Numbers messages, gives them the time, and lets hubs receive them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.messages: list[tuple[int, datetime, list[Event]]] = []

    def hub(self, since: int = 0, max_bytes: int = ROOM) -> Hub:
        """Returns a hub that has received what came after a number."""
        hub = Hub(max_bytes, self.clock)
        hub.begin(LIFE, since)
        for message in self.messages[since:]:
            hub.receive(*message)
        hub.caught_up()
        return hub

    def gets(self, hub: Hub, *events: Event) -> None:
        """Lets a hub, and all that come later, receive one message."""
        self.messages.append((len(self.messages) + 1, datetime.fromtimestamp(self.clock.now, UTC), list(events)))
        hub.receive(*self.messages[-1])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream(clock: Clock) -> Stream:
    return Stream(clock)


def paid(user_id: str) -> Event:
    """Makes the event of an order that was paid."""
    return Event(new_id(), ORDER_PAID, OrderPaid(order=Order(id=new_id(), user_id=user_id)).SerializeToString(), "")


def all_told(hub: Hub, listener: Listener) -> Iterator[tuple[Position, str]]:
    """Takes all there is for a listener."""
    while told := hub.take(listener):
        yield told.position, told.event.id


def told(hub: Hub, listener: Listener) -> list[str]:
    """Returns the ids of all events there are for a listener."""
    return [event_id for _, event_id in all_told(hub, listener)]


def test_a_listener_hears_what_comes_for_its_user_and_nothing_else(stream: Stream) -> None:
    hub = stream.hub()
    stream.gets(hub, paid(ANN))
    listener = hub.listen(ANN, None)
    first, second = paid(ANN), paid(ANN)
    stream.gets(hub, first, paid(BOB), second)
    other = Event(new_id(), CAPTURE_REQUESTED, first.payload, "")
    stream.gets(hub, other)
    assert listener.greeting == HELLO
    assert listener.start == Position(1, WHOLE_ENVELOPE)
    assert list(all_told(hub, listener)) == [(Position(2, 1), first.id), (Position(2, 3), second.id)]


def test_who_comes_back_to_another_instance_hears_the_rest_once(stream: Stream) -> None:
    one = stream.hub()
    events = [paid(ANN) for _ in range(6)]
    stream.gets(one, *events[:3])
    stream.gets(one, *events[3:])
    everything = list(all_told(one, one.listen(ANN, MessageId(LIFE, Position(0, WHOLE_ENVELOPE)))))
    assert [event_id for _, event_id in everything] == [event.id for event in events]
    other = stream.hub()
    for number, (position, _) in enumerate(everything, start=1):
        listener = other.listen(ANN, MessageId(LIFE, position))
        assert listener.greeting == HELLO
        assert listener.start == position
        assert told(other, listener) == [event.id for event in events[number:]]


def test_nothing_comes_between_what_was_missed_and_what_is_new(stream: Stream) -> None:
    hub = stream.hub()
    missed, new = paid(ANN), paid(ANN)
    before = hub.end
    stream.gets(hub, missed)
    listener = hub.listen(ANN, MessageId(LIFE, before))
    stream.gets(hub, new)
    assert told(hub, listener) == [missed.id, new.id]
    assert listener.live_from == 1


def test_an_id_that_is_too_old_asks_for_a_resync(stream: Stream, clock: Clock) -> None:
    hub = stream.hub()
    first, second, third = paid(ANN), paid(ANN), paid(BOB)
    stream.gets(hub, first)
    clock.now += RESUME_SECONDS / 2
    stream.gets(hub, second)
    clock.now += RESUME_SECONDS / 2 + 1
    stream.gets(hub, third)
    start = MessageId(LIFE, Position(0, WHOLE_ENVELOPE))
    listener = hub.listen(ANN, start)
    assert (listener.greeting, listener.start) == (RESYNC, hub.end)
    assert told(hub, listener) == []
    # Nothing after the first one is forgotten.
    assert told(hub, hub.listen(ANN, MessageId(LIFE, Position(1, 1)))) == [second.id]


def test_however_long_nothing_happens_there_is_nothing_to_resync(stream: Stream, clock: Clock) -> None:
    hub = stream.hub()
    stream.gets(hub, paid(ANN))
    clock.now += 100 * RESUME_SECONDS
    assert hub.listen(ANN, MessageId(LIFE, hub.end)).greeting == HELLO


def test_an_id_of_another_life_or_from_the_future_asks_for_a_resync(stream: Stream) -> None:
    hub = stream.hub()
    stream.gets(hub, paid(ANN))
    assert hub.listen(ANN, MessageId("2b", hub.end)).greeting == RESYNC
    ahead = MessageId(LIFE, Position(2, 1))
    assert hub.is_ahead(ahead)
    assert not hub.is_ahead(MessageId(LIFE, hub.end))
    assert hub.listen(ANN, ahead).greeting == RESYNC
    stream.gets(hub, paid(ANN))
    assert hub.listen(ANN, ahead).greeting == HELLO


def test_an_instance_that_started_later_knows_what_it_does_not_know(stream: Stream) -> None:
    one = stream.hub()
    for _ in range(5):
        stream.gets(one, paid(ANN))
    late = stream.hub(since=3)
    assert late.listen(ANN, MessageId(LIFE, Position(2, 1))).greeting == RESYNC
    assert len(told(late, late.listen(ANN, MessageId(LIFE, Position(4, 1))))) == 1


def test_when_the_stream_is_lost_all_are_told_to_read_anew_and_then_what_is_new(stream: Stream) -> None:
    hub = stream.hub()
    ann, bob = hub.listen(ANN, None), hub.listen(BOB, None)
    ann.greeting = bob.greeting = ""
    stream.gets(hub, paid(ANN), paid(BOB))
    assert len(told(hub, bob)) == 1
    ann.wake.clear()
    hub.begin("2b", 7)
    assert ann.wake.is_set()
    for listener in (ann, bob):
        assert (listener.greeting, listener.start) == (RESYNC, Position(7, WHOLE_ENVELOPE))
        assert told(hub, listener) == []
    new = paid(ANN)
    hub.receive(8, datetime.fromtimestamp(hub_time(stream), UTC), [new])
    assert told(hub, ann) == [new.id]
    assert hub.size[0] == 1


def hub_time(stream: Stream) -> float:
    return stream.clock.now


def test_an_event_that_comes_again_is_told_once_on_every_instance(stream: Stream, clock: Clock) -> None:
    hub = stream.hub()
    listener = hub.listen(ANN, None)
    event, company = paid(ANN), paid(ANN)
    stream.gets(hub, event)
    clock.now += REPEAT_SECONDS
    stream.gets(hub, event, company)
    assert told(hub, listener) == [event.id, company.id]
    late = stream.hub()
    assert told(late, late.listen(ANN, MessageId(LIFE, Position(1, 1)))) == [company.id]
    # Later than that, it is news for everybody: what is remembered has an end.
    clock.now += REPEAT_SECONDS + 120
    stream.gets(hub, event)
    assert told(hub, listener) == [event.id]


def test_what_is_remembered_of_repetitions_is_bounded(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.push.hub.MAX_IDS", 10)
    assert MAX_IDS > 10
    hub = stream.hub()
    listener = hub.listen(ANN, None)
    first = paid(ANN)
    stream.gets(hub, first, *(paid(BOB) for _ in range(10)), first)
    assert told(hub, listener) == [first.id, first.id]


def test_the_memory_is_bounded_and_who_fell_behind_hears_of_it(stream: Stream) -> None:
    size = OVERHEAD_BYTES + len(paid(ANN).payload)
    hub = stream.hub(max_bytes=10 * size)
    slow = hub.listen(ANN, None)
    for _ in range(10):
        stream.gets(hub, paid(ANN))
    assert hub.size == (10, 10 * size)
    assert hub.take(slow)
    stream.gets(hub, paid(BOB))
    assert hub.take(slow)
    for _ in range(3):
        stream.gets(hub, paid(BOB))
    assert hub.size == (10, 10 * size)
    with pytest.raises(Fell):
        hub.take(slow)
    assert hub.listen(ANN, MessageId(LIFE, Position(3, 1))).greeting == RESYNC
    assert len(told(hub, hub.listen(ANN, MessageId(LIFE, Position(4, 1))))) == 6


def test_what_can_not_be_read_is_left_out(stream: Stream) -> None:
    hub = stream.hub()
    listener = hub.listen(ANN, None)
    good = paid(ANN)
    stream.gets(
        hub,
        Event(new_id(), ORDER_PAID, b"\xff\xff", ""),
        Event("no id", ORDER_PAID, good.payload, ""),
        Event(new_id(), ORDER_PAID, b"", ""),
        good,
    )
    assert told(hub, listener) == [good.id]


def test_nobody_is_kept_who_neither_listens_nor_has_news(stream: Stream, clock: Clock) -> None:
    hub = stream.hub()
    listeners = [hub.listen(new_id(), None) for _ in range(10)]
    stream.gets(hub, paid(listeners[0].user_id), paid(ANN))
    for listener in listeners:
        hub.leave(listener)
    assert hub.known_users == 2
    clock.now += RESUME_SECONDS + 1
    stream.gets(hub)
    assert hub.known_users == 0
