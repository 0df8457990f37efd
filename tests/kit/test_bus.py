"""kit.bus on a real NATS: batches, redelivery, dead letters."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import nats
import pytest
from nats.aio.client import Client

from gozon.events.v1.envelope_pb2 import Envelope
from kit.bus import Bus, Stream
from kit.consumption import Consumer
from kit.errors import Unavailable
from kit.events import Event
from kit.ids import new_id
from tests.support import NatsServer, RunningStack, eventually, unique


@dataclass
class Topic:
    """A stream, a subject in it and a consumer of it that only one test uses, and connections to them."""

    url: str
    stream: Stream
    subject: str
    consumer: Consumer
    buses: list[Bus]
    tasks: list[asyncio.Task[None]]

    async def bus(self) -> Bus:
        """Connects once more: what another instance of a service would have."""
        bus = Bus(self.url, [self.stream], [self.consumer])
        await bus.connect()
        self.buses.append(bus)
        return bus

    def consume(self, bus: Bus, handler: Callable[[Sequence[Event]], object], batch: int = 500) -> None:
        self.tasks.append(asyncio.create_task(bus.consume(self.consumer, handler, batch=batch)))  # type: ignore[arg-type]

    def messages(self, number: int) -> list[Event]:
        return [Event(new_id(), self.subject, str(n).encode(), "") for n in range(number)]


@pytest.fixture
async def topic(stack: RunningStack) -> AsyncIterator[Topic]:
    name = unique()
    topic = Topic(
        stack.nats_url,
        Stream(name, (f"{name}.>",), max_age=600),
        f"{name}.made",
        Consumer(f"{name}-consumer", name, (f"{name}.made",)),
        [],
        [],
    )
    yield topic
    for bus in topic.buses:
        await bus.stop_consuming()
        await bus.close()
    await asyncio.gather(*topic.tasks)


@pytest.fixture
async def client(stack: RunningStack) -> AsyncIterator[Client]:
    """A plain client, to look at what JetStream has."""
    client = await nats.connect(stack.nats_url)
    yield client
    await client.drain()


class Handler:
    """Notes what is delivered, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[Event]] = []
        self.deliveries: Counter[str] = Counter()
        self.handled: list[str] = []
        self.failures: dict[str, list[Exception]] = {}

    async def __call__(self, messages: Sequence[Event]) -> None:
        self.batches.append(list(messages))
        self.deliveries.update(message.id for message in messages)
        for message in messages:
            if left := self.failures.get(message.id):
                raise left[0] if len(left) == 1 and left[0].args == ("for ever",) else left.pop(0)
        self.handled += [message.id for message in messages]

    async def has(self, number: int) -> bool:
        return len(self.handled) >= number


async def unacknowledged(client: Client, topic: Topic) -> int:
    info = await client.jetstream().consumer_info(topic.stream.name, topic.consumer.name)
    return int(info.num_ack_pending or 0) + int(info.num_pending or 0)


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> tuple[float, ...]:
    """Redelivery at once: the real one takes minutes until a message is given up."""
    backoff = (0.01, 0.02, 0.02)
    monkeypatch.setattr("kit.consumption.BACKOFF", backoff)
    return backoff


async def test_what_is_published_is_delivered_in_order_and_in_batches(topic: Topic) -> None:
    bus = await topic.bus()
    published = topic.messages(300)
    assert await bus.publish(published) == {message.id for message in published}
    handler = Handler()
    topic.consume(bus, handler, batch=100)
    await eventually(lambda: handler.has(300))
    assert [message for batch in handler.batches for message in batch] == published
    assert max(map(len, handler.batches)) <= 100
    assert len(handler.batches) < 100


async def test_a_message_keeps_its_id_and_trace(topic: Topic) -> None:
    bus = await topic.bus()
    sent = Event(new_id(), topic.subject, b"\x00\xff", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    await bus.publish([sent])
    handler = Handler()
    topic.consume(bus, handler)
    await eventually(lambda: handler.has(1))
    assert handler.batches == [[sent]]


async def test_publishing_says_what_was_stored_and_what_was_not(topic: Topic) -> None:
    bus = await topic.bus()
    stored, lost = topic.messages(1)[0], Event(new_id(), unique("nowhere"), b"", "")
    assert await bus.publish([stored, lost]) == {stored.id}
    assert await bus.publish([]) == set()


async def test_publishing_twice_within_the_window_stores_once(topic: Topic, client: Client) -> None:
    bus = await topic.bus()
    published = topic.messages(10)
    assert await bus.publish(published) == await bus.publish(published)
    assert (await client.jetstream().stream_info(topic.stream.name)).state.messages == 1


async def test_what_a_handler_fails_on_is_delivered_again(topic: Topic, quick_backoff: tuple[float, ...]) -> None:
    bus = await topic.bus()
    published = topic.messages(20)
    handler = Handler()
    handler.failures[published[7].id] = [ValueError("the batch"), ValueError("alone")]
    await bus.publish(published)
    topic.consume(bus, handler)
    await eventually(lambda: handler.has(20))
    # The others of its envelope come again with it.
    assert set(handler.handled) == {message.id for message in published}
    assert handler.deliveries[published[7].id] == len(quick_backoff)


async def test_a_poison_message_becomes_a_dead_letter_and_blocks_nobody(
    topic: Topic, client: Client, quick_backoff: tuple[float, ...]
) -> None:
    bus = await topic.bus()
    published = topic.messages(20)
    poison = published[3]
    handler = Handler()
    handler.failures[poison.id] = [ValueError("for ever")]
    await bus.publish(published)
    topic.consume(bus, handler)
    await eventually(lambda: handler.has(19))
    later = topic.messages(5)
    await bus.publish(later)
    await eventually(lambda: handler.has(24))

    async def nothing_left() -> bool:
        return await unacknowledged(client, topic) == 0

    await eventually(nothing_left)
    dead = await client.jetstream().get_last_msg("DEAD", f"dead.{topic.consumer.name}")
    assert [event.payload for event in Envelope.FromString(dead.data or b"").events] == [poison.payload]
    headers = dead.headers or {}
    assert headers["Gozon-Event-Id"] == poison.id
    assert headers["Gozon-Subject"] == topic.subject
    assert headers["Gozon-Failures"] == str(len(quick_backoff) + 1)
    assert "for ever" in headers["Gozon-Error"]
    # Each time with the others of its batch, with those of its envelope, and alone.
    assert 2 * (len(quick_backoff) + 1) <= handler.deliveries[poison.id] <= 3 * (len(quick_backoff) + 1)
    assert poison.id not in handler.handled


async def test_an_error_of_several_lines_fits_into_a_dead_letter(
    topic: Topic, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.consumption.BACKOFF", ())
    bus = await topic.bus()
    [message] = topic.messages(1)

    async def handler(_: Sequence[Event]) -> None:
        raise ValueError("first line\r\nsecond line\n" + "ж" * 1000)

    await bus.publish([message])
    topic.consume(bus, handler)

    async def nothing_left() -> bool:
        return await unacknowledged(client, topic) == 0

    await eventually(nothing_left)
    dead = await client.jetstream().get_last_msg("DEAD", f"dead.{topic.consumer.name}")
    assert "second line" in (dead.headers or {})["Gozon-Error"]


async def test_while_the_database_is_away_nothing_is_counted_against_a_message(
    topic: Topic, client: Client, quick_backoff: tuple[float, ...]
) -> None:
    bus = await topic.bus()
    [message] = topic.messages(1)
    handler = Handler()
    away: list[Exception] = [Unavailable() for _ in range(2 * len(quick_backoff))]
    handler.failures[message.id] = [*away, ValueError("once")]
    await bus.publish([message])
    topic.consume(bus, handler)
    await eventually(lambda: handler.has(1))
    assert await unacknowledged(client, topic) == 0


async def test_instances_share_the_messages(topic: Topic) -> None:
    handlers = [Handler(), Handler()]
    for handler in handlers:
        topic.consume(await topic.bus(), handler, batch=10)
    publisher = await topic.bus()
    published = topic.messages(0)
    for _ in range(20):
        some = topic.messages(25)
        await publisher.publish(some)
        published += some

    async def all_handled() -> bool:
        return sum(len(handler.handled) for handler in handlers) >= len(published)

    await eventually(all_handled)
    assert Counter(handlers[0].handled + handlers[1].handled) == Counter(message.id for message in published)
    assert all(handler.handled for handler in handlers)


async def test_stopping_finishes_what_was_begun_and_leaves_the_rest_to_others(topic: Topic, client: Client) -> None:
    stopping = await topic.bus()
    published = topic.messages(30)
    begun, go_on = asyncio.Event(), asyncio.Event()
    finished: list[str] = []

    async def slowly(messages: Sequence[Event]) -> None:
        begun.set()
        await go_on.wait()
        finished.extend(message.id for message in messages)

    for start in range(0, 30, 10):
        await stopping.publish(published[start : start + 10])
    topic.consume(stopping, slowly, batch=10)
    await begun.wait()
    stop = asyncio.create_task(stopping.stop_consuming())
    await asyncio.sleep(0)
    assert not stop.done()
    go_on.set()
    await stop
    assert 0 < len(finished) <= 10
    rest = Handler()
    topic.consume(await topic.bus(), rest)
    await eventually(lambda: rest.has(30 - len(finished)))
    assert sorted(finished + rest.handled) == sorted(message.id for message in published)
    assert max(rest.deliveries.values()) == 1

    async def nothing_left() -> bool:
        return await unacknowledged(client, topic) == 0

    await eventually(nothing_left)


async def test_every_instance_that_subscribes_hears_everything_until_it_unsubscribes(topic: Topic) -> None:
    heard: list[list[str]] = [[], []]
    buses = [await topic.bus(), await topic.bus()]
    ends = [
        await bus.subscribe([topic.subject], lambda message, ears=ears: ears.append(message.id))  # type: ignore[misc]
        for bus, ears in zip(buses, heard, strict=True)
    ]
    for bus in buses:
        await bus.ping()
    first, second = topic.messages(2)
    await buses[0].publish([first])

    async def both_heard_it() -> bool:
        return heard == [[first.id], [first.id]]

    await eventually(both_heard_it)
    await ends[1]()
    await buses[0].publish([second])

    async def one_heard_more() -> bool:
        return heard[0] == [first.id, second.id]

    await eventually(one_heard_more)
    await buses[1].ping()
    assert heard[1] == [first.id]


async def test_declaring_at_the_same_time_and_again_changes_nothing(topic: Topic, client: Client) -> None:
    buses = [Bus(topic.url, [topic.stream], [topic.consumer]) for _ in range(5)]
    await asyncio.gather(*(bus.connect() for bus in buses))
    topic.buses += buses
    await buses[0].publish(topic.messages(3))
    await asyncio.gather(*(bus.declare() for bus in buses))
    assert (await client.jetstream().stream_info(topic.stream.name)).state.messages == 1


async def test_consuming_goes_on_after_nats_was_killed_and_after_it_lost_its_storage(nats_server: NatsServer) -> None:
    stream, consumer = Stream("S", ("s.>",), max_age=600), Consumer("c", "S", ("s.made",))
    bus = Bus(nats_server.url, [stream], [consumer])
    await bus.connect()
    handler = Handler()
    consuming = asyncio.create_task(bus.consume(consumer, handler))
    published = [Event(new_id(), "s.made", b"", "") for _ in range(3)]

    async def publish(message: Event) -> bool:
        return await bus.publish([message]) == {message.id}

    await publish(published[0])
    await eventually(lambda: handler.has(1))
    nats_server.kill()
    with pytest.raises(Unavailable):
        await eventually(lambda: _ping(bus))
    await nats_server.start()
    await eventually(lambda: publish(published[1]))
    await eventually(lambda: handler.has(2))
    nats_server.kill()
    nats_server.wipe()
    await nats_server.start()
    await eventually(lambda: publish(published[2]))
    await eventually(lambda: handler.has(3))
    assert handler.handled == [message.id for message in published]
    await bus.stop_consuming()
    await consuming
    await bus.close()


async def _ping(bus: Bus) -> bool:
    await bus.ping()
    return False


async def test_a_backlog_is_handled_once_though_it_takes_longer_than_an_acknowledgement_may(
    topic: Topic, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.bus.ACK_WAIT", 1.0)
    bus = await topic.bus()
    published = topic.messages(150)
    for message in published:
        await bus.publish([message])
    handled: set[str] = set()

    async def slowly(messages: Sequence[Event]) -> None:
        handled.update(message.id for message in messages)
        await asyncio.sleep(0.02)

    topic.consume(bus, slowly, batch=1)

    async def all_handled() -> bool:
        return len(handled) == len(published)

    await eventually(all_handled)
    info = await client.jetstream().consumer_info(topic.stream.name, topic.consumer.name)
    assert info.delivered is not None
    assert info.delivered.consumer_seq == len(published)
