"""kit.bus on a real NATS: publishing, batches, redelivery."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from nats.aio.client import Client
from nats.js.errors import ServerError

from kit.bus import Bus, Stream
from kit.consumption import Consumer
from kit.db import Database
from kit.errors import Unavailable
from kit.events import Event
from kit.ids import new_id
from tests.kit.topics import Handler, Topic, unacknowledged
from tests.support import NatsServer, eventually, unique


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


async def test_who_asks_for_the_lag_can_be_cancelled_at_any_moment(topic: Topic) -> None:
    bus = await topic.bus()

    async def ask_for_ever() -> None:
        while True:
            await bus.lag(topic.consumer)

    for moment in range(300):
        asking = asyncio.create_task(ask_for_ever())
        await asyncio.sleep(moment / 200_000)
        asking.cancel()
        done, _ = await asyncio.wait([asking], timeout=5)
        assert done


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


async def test_streams_are_asked_for_with_as_many_replicas_as_are_set(topic: Topic) -> None:
    bus = Bus(topic.url, [topic.stream], [], replicas=3)
    topic.buses.append(bus)
    with pytest.raises(ServerError, match="replicas > 1 not supported in non-clustered mode"):
        await bus.connect()


async def test_consuming_goes_on_after_nats_was_killed_and_after_it_lost_its_storage(
    nats_server: NatsServer, payments_db: Database
) -> None:
    stream, consumer = Stream("S", ("s.>",), max_age=600), Consumer("c", "S", ("s.made",))
    bus = Bus(nats_server.url, [stream], [consumer])
    await bus.connect()
    handler = Handler()
    consuming = asyncio.create_task(bus.consume(consumer, handler, payments_db))
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


async def test_what_nobody_answers_is_asked_for_again(topic: Topic, client: Client) -> None:
    """As when the server dies that leads a consumer of a cluster: pulls are heard, and there is no end of them."""
    bus = await topic.bus()
    stream, consumer = topic.stream.name, topic.consumer.name
    await client.jetstream().delete_consumer(stream, consumer)
    silent = await client.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}")
    await client.flush()
    handler = Handler()
    topic.consume(bus, handler)
    await silent.next_msg()
    await silent.unsubscribe()
    await bus.declare()
    await bus.publish(topic.messages(1))
    await eventually(lambda: handler.has(1))


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
