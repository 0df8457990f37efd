"""kit.outbox on a real PostgreSQL and NATS: everything that was committed is published, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import nats
import pytest
from nats.aio.client import Client

from gozon.events.v1.envelope_pb2 import Envelope
from kit.bus import Bus, Stream
from kit.db import Database, sql
from kit.events import Event
from kit.ids import first_id_at, new_id
from kit.outbox import Outbox
from tests.conftest import NewDatabase
from tests.support import NatsServer, RunningStack, count, disconnected_bus, eventually, outbox_of, unique


@pytest.fixture
def stream() -> Stream:
    name = unique()
    return Stream(name, (f"{name}.>",), max_age=600)


@pytest.fixture
async def bus(stack: RunningStack, stream: Stream) -> AsyncIterator[Bus]:
    bus = Bus(stack.nats_url, [stream], [])
    await bus.connect()
    yield bus
    await bus.close()


def messages(stream: Stream, number: int) -> list[Event]:
    return [Event(new_id(), f"{stream.name}.made", str(n).encode(), f"trace-{n}") for n in range(number)]


async def leave_behind(database: Database, left: list[Event]) -> None:
    """Writes messages as if a minute ago, by somebody who died before publishing them."""
    await add(database, Outbox(database, disconnected_bus()), left)
    async with database.autocommit() as connection:
        await connection.execute(
            sql("UPDATE outbox SET created_at = now() - interval '1 minute' WHERE id = ANY(:ids::uuid[])"),
            ids=[message.id for message in left],
        )


async def add(database: Database, outbox: Outbox, added: list[Event]) -> None:
    async with database.transaction() as tx:
        await outbox.add(tx, added)


@asynccontextmanager
async def running(outbox: Outbox) -> AsyncIterator[None]:
    run = asyncio.create_task(outbox.run())
    try:
        yield
    finally:
        await outbox.drain()
        await run


async def stored(client: Client, stream: Stream) -> list[str]:
    """Returns the ids of the events in the stream, in order."""
    js = client.jetstream()
    state = (await js.stream_info(stream.name)).state
    if not state.messages:
        return []
    found = [await js.get_msg(stream.name, number) for number in range(state.first_seq, state.last_seq + 1)]
    return [event.id for message in found for event in Envelope.FromString(message.data or b"").events]


def empty(database: Database) -> Callable[[], "asyncio.Future[bool]"]:
    async def is_empty() -> bool:
        return await count(database, "outbox") == 0

    return lambda: asyncio.ensure_future(is_empty())


async def test_messages_are_published_once_their_transaction_is_committed_and_not_before(
    payments_db: Database, bus: Bus, stream: Stream, client: Client
) -> None:
    outbox = Outbox(payments_db, bus)
    added = messages(stream, 3)
    async with running(outbox):
        async with payments_db.transaction() as tx:
            await outbox.add(tx, added)
            await bus.ping()
            assert await stored(client, stream) == []
        await eventually(empty(payments_db))
    assert await stored(client, stream) == [message.id for message in added]


async def test_messages_of_a_transaction_that_was_rolled_back_are_never_published(
    payments_db: Database, bus: Bus, stream: Stream, client: Client
) -> None:
    outbox = Outbox(payments_db, bus)
    later = messages(stream, 1)
    async with running(outbox):
        with pytest.raises(ZeroDivisionError):
            async with payments_db.transaction() as tx:
                await outbox.add(tx, messages(stream, 3))
                raise ZeroDivisionError
        await add(payments_db, outbox, later)
        await eventually(empty(payments_db))
    assert await stored(client, stream) == [later[0].id]


async def test_a_message_arrives_as_it_was_written(
    payments_db: Database, bus: Bus, stream: Stream, client: Client
) -> None:
    outbox = Outbox(payments_db, bus)
    sent = Event(new_id(), f"{stream.name}.made", bytes(range(256)), "00-abc-def-01")
    async with running(outbox):
        await add(payments_db, outbox, [sent])
        assert await outbox_of(payments_db) in ([sent], [])
        await eventually(empty(payments_db))
    arrived = await client.jetstream().get_last_msg(stream.name, sent.subject)
    [event] = Envelope.FromString(arrived.data or b"").events
    assert (event.id, event.payload, event.traceparent) == (sent.id, sent.payload, sent.traceparent)


async def test_what_a_crash_left_behind_is_swept_by_anybody(
    payments_db: Database, bus: Bus, stream: Stream, client: Client
) -> None:
    added = messages(stream, 1200)
    await leave_behind(payments_db, added)
    async with running(Outbox(payments_db, bus)):
        await eventually(empty(payments_db))
    assert await stored(client, stream) == [message.id for message in added]


async def test_what_is_left_behind_is_told_by_the_clock_of_the_database(
    payments_db: Database, bus: Bus, stream: Stream, client: Client
) -> None:
    """The machine that made this id is an hour ahead."""
    early = Event(first_id_at(time.time() + 3600), f"{stream.name}.made", b"", "")
    await leave_behind(payments_db, [early])
    async with running(Outbox(payments_db, bus)):
        await eventually(empty(payments_db))
    assert await stored(client, stream) == [early.id]


async def test_several_relays_at_once_lose_nothing(
    new_database: NewDatabase, stack: RunningStack, stream: Stream, client: Client
) -> None:
    database = await new_database("payments")
    buses = [Bus(stack.nats_url, [stream], []) for _ in range(3)]
    for bus in buses:
        await bus.connect()
    outboxes = [Outbox(database, bus) for bus in buses]
    added = messages(stream, 700)
    await leave_behind(database, added)
    async with running(outboxes[0]), running(outboxes[1]), running(outboxes[2]):
        for _ in range(20):
            for outbox in outboxes:
                some = messages(stream, 5)
                added += some
                await add(database, outbox, some)
        await eventually(empty(database))
    # Some may be there twice: in other company an event is another message to JetStream.
    assert set(await stored(client, stream)) == {message.id for message in added}
    for bus in buses:
        await bus.close()


async def test_a_row_stays_until_its_message_is_acknowledged(
    payments_db: Database, bus: Bus, stream: Stream, client: Client
) -> None:
    """A message that no stream takes stays where it is, and stops nobody else's."""
    outbox = Outbox(payments_db, bus)
    nowhere = Event(new_id(), unique("nowhere"), b"", "")
    added = messages(stream, 2)
    async with running(outbox):
        await add(payments_db, outbox, [nowhere, *added])

        async def only_it_is_left() -> bool:
            return await outbox_of(payments_db) == [nowhere]

        await eventually(only_it_is_left)
    assert await outbox_of(payments_db) == [nowhere]
    assert set(await stored(client, stream)) == {message.id for message in added}


async def test_draining_publishes_what_is_in_hand(
    payments_db: Database, bus: Bus, stream: Stream, client: Client
) -> None:
    outbox = Outbox(payments_db, bus)
    added = messages(stream, 1100)
    await add(payments_db, outbox, added)
    async with running(outbox):
        pass
    assert await count(payments_db, "outbox") == 0
    assert len(await stored(client, stream)) == len(added)


async def test_what_is_committed_while_nats_is_away_is_published_when_it_is_back(
    payments_db: Database, nats_server: NatsServer
) -> None:
    stream = Stream("S", ("S.>",), max_age=600)
    bus = Bus(nats_server.url, [stream], [])
    await bus.connect()
    outbox = Outbox(payments_db, bus)
    added = messages(stream, 10)
    async with running(outbox):
        await add(payments_db, outbox, added[:3])
        await eventually(empty(payments_db))
        nats_server.kill()
        for message in added[3:]:
            await add(payments_db, outbox, [message])
        assert await outbox_of(payments_db) == added[3:]
        await nats_server.start()
        await eventually(empty(payments_db))
    client = await nats.connect(nats_server.url)
    assert set(await stored(client, stream)) == {message.id for message in added}
    await client.drain()
    await bus.close()


async def test_when_nats_lost_its_storage_the_stream_is_declared_anew(
    payments_db: Database, nats_server: NatsServer
) -> None:
    stream = Stream("S", ("S.>",), max_age=600)
    bus = Bus(nats_server.url, [stream], [])
    await bus.connect()
    outbox = Outbox(payments_db, bus)
    async with running(outbox):
        await add(payments_db, outbox, messages(stream, 1))
        await eventually(empty(payments_db))
        nats_server.kill()
        nats_server.wipe()
        await nats_server.start()
        added = messages(stream, 3)
        await add(payments_db, outbox, added)
        await eventually(empty(payments_db))
    client = await nats.connect(nats_server.url)
    assert set(await stored(client, stream)) == {message.id for message in added}
    await client.drain()
    await bus.close()


async def test_while_the_table_cannot_be_read_the_relay_lives_on(
    payments_db: Database, bus: Bus, stream: Stream, client: Client
) -> None:
    outbox = Outbox(payments_db, bus)
    added = messages(stream, 2)
    async with running(outbox):
        await add(payments_db, outbox, added[:1])
        async with payments_db.transaction() as tx:
            await tx.execute(sql("ALTER TABLE outbox RENAME TO elsewhere"))
        async with payments_db.transaction() as tx:
            await tx.execute(sql("ALTER TABLE elsewhere RENAME TO outbox"))
        await add(payments_db, outbox, added[1:])
        await eventually(empty(payments_db))
    assert set(await stored(client, stream)) == {message.id for message in added}
