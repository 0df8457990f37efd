"""Following a stream that keeps copies of others, on a NATS server that dies and forgets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime

import nats
import pytest

from kit.bus import Bus, Stream
from kit.events import Event
from kit.ids import new_id
from tests.support import NatsServer, eventually

TEA = Stream("TEA", ("tea.>",), max_age=3600)
CAKE = Stream("CAKE", ("cake.>",), max_age=3600)
MENU = Stream("MENU", (), max_age=3600, sources=(("TEA", "tea.>"), ("CAKE", "cake.baked")))

NewBus = Callable[[], Awaitable[Bus]]


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.caught_up_with: list[int] = []
        self.sequences: list[int] = []
        self.events: list[Event] = []

    def begin(self, life: str, sequence: int) -> None:
        self.begun.append((life, sequence))

    def receive(self, sequence: int, at: datetime, events: Sequence[Event]) -> None:
        self.sequences.append(sequence)
        self.events += events

    def caught_up(self) -> None:
        self.caught_up_with.append(len(self.events))

    async def has(self, number: int) -> bool:
        return len(self.events) >= number


@pytest.fixture
async def new_bus(nats_server: NatsServer) -> AsyncIterator[NewBus]:
    buses = []

    async def make() -> Bus:
        buses.append(Bus(nats_server.url, (TEA, CAKE, MENU), ()))
        await buses[-1].connect()
        return buses[-1]

    yield make
    for bus in buses:
        await bus.stop_consuming()
        await bus.close()


def baked(number: int) -> list[Event]:
    """Makes events, of both streams in turns."""
    return [Event(new_id(), ("tea.made", "cake.baked")[n % 2], str(n).encode(), "") for n in range(number)]


async def publish(bus: Bus, events: Sequence[Event]) -> None:
    """Publishes events one after the other until each is stored."""
    for event in events:
        while await bus.publish([event]) != {event.id}:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


def follow(bus: Bus) -> Listener:
    """Follows the menu."""
    listener = Listener()
    listener.task = asyncio.create_task(bus.follow(MENU, 60, listener))  # type: ignore[attr-defined]  # kept alive
    return listener


async def test_several_streams_are_followed_in_one_order_which_is_everybodys(new_bus: NewBus) -> None:
    first, second = await new_bus(), await new_bus()
    early = follow(first)
    events = baked(40)
    await publish(first, [*events[:20], Event(new_id(), "cake.burnt", b"", "")])
    await eventually(lambda: early.has(20))
    late = follow(second)
    await publish(second, events[20:])
    await eventually(lambda: early.has(40))
    await eventually(lambda: late.has(40))
    assert late.events == early.events
    assert late.sequences == early.sequences
    assert late.begun == early.begun
    # The late one was told so once it had what was there.
    assert late.caught_up_with[0] >= 20
    assert early.caught_up_with == [0]
    assert {event.id for event in early.events} == {event.id for event in events}


async def test_all_is_told_once_and_in_order_when_nats_dies_again_and_again(
    new_bus: NewBus, nats_server: NatsServer
) -> None:
    bus = await new_bus()
    listener = follow(bus)
    await eventually(lambda: _has_begun(listener))
    events = baked(300)
    publishing = asyncio.create_task(publish(bus, events))
    for part in (50, 100, 150):
        await eventually(lambda part=part: listener.has(part))  # type: ignore[misc]
        nats_server.kill()
        await nats_server.start()
    await publishing
    await eventually(lambda: listener.has(300))
    assert len(listener.begun) == 1
    assert listener.sequences == list(range(1, len(listener.sequences) + 1))
    # Published again after a death they may be there twice; the stream's readers tell by the id.
    assert list(dict.fromkeys(event.id for event in listener.events if event.subject == "tea.made")) == [
        event.id for event in events if event.subject == "tea.made"
    ]
    assert {event.id for event in listener.events} == {event.id for event in events}


async def test_after_nats_lost_its_storage_followers_hear_that_they_begin_anew_and_then_everything(
    new_bus: NewBus, nats_server: NatsServer
) -> None:
    bus = await new_bus()
    listener = follow(bus)
    await publish(bus, baked(10))
    await eventually(lambda: listener.has(10))
    nats_server.kill()
    nats_server.wipe()
    await nats_server.start()

    async def begins_anew() -> bool:
        return len(listener.begun) == 2

    await eventually(begins_anew)
    assert listener.begun[0][0] != listener.begun[1][0]
    events = baked(10)
    await publish(bus, events)
    await eventually(lambda: listener.has(20))
    assert {event.id for event in listener.events[10:]} == {event.id for event in events}


async def test_a_stream_that_was_made_anew_is_begun_anew(new_bus: NewBus, nats_server: NatsServer) -> None:
    bus = await new_bus()
    listener = follow(bus)
    await publish(bus, baked(10))
    await eventually(lambda: listener.has(10))
    client = await nats.connect(nats_server.url)
    await client.jetstream().delete_stream("MENU")
    await client.close()
    await bus.declare()
    # As many as before: their numbers alone would look like more of the same.
    await publish(bus, baked(12))

    async def begins_anew() -> bool:
        return len(listener.begun) == 2

    await eventually(begins_anew)


async def test_many_may_declare_it_at_once_while_its_origins_go_on(new_bus: NewBus, nats_server: NatsServer) -> None:
    buses = [await new_bus() for _ in range(4)]
    client = await nats.connect(nats_server.url)
    stop = asyncio.Event()

    async def go_on() -> None:
        while not stop.is_set():
            await buses[0].publish(baked(2))

    going_on = asyncio.create_task(go_on())
    for _ in range(20):
        await client.jetstream().delete_stream("MENU")
        await asyncio.gather(*(bus.declare() for bus in buses))
    stop.set()
    await going_on
    await client.close()


async def test_a_stream_whose_origin_was_made_anew_is_made_anew_too(new_bus: NewBus, nats_server: NatsServer) -> None:
    bus = await new_bus()
    await publish(bus, baked(20))
    client = await nats.connect(nats_server.url)
    await client.jetstream().delete_stream("TEA")
    await client.close()
    await bus.declare()
    listener = follow(bus)
    events = baked(10)
    await publish(bus, events)
    await eventually(lambda: listener.has(10))
    assert {event.id for event in listener.events} == {event.id for event in events}


async def _has_begun(listener: Listener) -> bool:
    return bool(listener.caught_up_with)
