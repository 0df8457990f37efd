"""Dead letters on a real NATS and PostgreSQL: they block nobody, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from nats.aio.client import Client

from gozon.events.v1 import envelope_pb2
from kit.db import Database, Row, sql
from kit.events import Event, pack
from tests.kit.topics import Handler, Topic, unacknowledged
from tests.support import eventually, free_port


async def dead_letters(database: Database) -> list[Row]:
    async with database.autocommit() as connection:
        return await connection.execute(sql("SELECT * FROM dead_letters ORDER BY event_id"))


async def nothing_left(client: Client, topic: Topic) -> None:
    async def is_so() -> bool:
        return await unacknowledged(client, topic) == 0

    await eventually(is_so)


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
    await nothing_left(client, topic)
    [dead] = await dead_letters(topic.database)
    assert (dead["consumer"], dead["event_id"]) == (topic.consumer.name, poison.id)
    assert (dead["subject"], dead["payload"], dead["traceparent"]) == (topic.subject, poison.payload, "")
    assert dead["error"] == "ValueError('for ever')"
    assert dead["deliveries"] >= dead["failures"] == len(quick_backoff) + 1
    assert dead["first_failed_at"] < dead["died_at"]
    # Each time with the others of its batch, with those of its envelope, and alone.
    assert 2 * (len(quick_backoff) + 1) <= handler.deliveries[poison.id] <= 3 * (len(quick_backoff) + 1)
    assert poison.id not in handler.handled


async def test_whatever_is_on_the_bus_and_in_an_error_fits_into_a_dead_letter(
    topic: Topic, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.consumption.BACKOFF", ())
    bus = await topic.bus()
    odd = envelope_pb2.Event(id="a\0b", traceparent="\0", payload=b"\0")
    js = client.jetstream()
    await js.publish(topic.subject, envelope_pb2.Envelope(events=[odd]).SerializeToString())
    await js.publish(topic.subject, b"\xff no envelope")

    class OddError(Exception):
        def __repr__(self) -> str:
            return "first line\r\ngrößer \0 \udcff" + "ж" * 5000

    async def handler(_: Sequence[Event]) -> None:
        raise OddError

    topic.consume(bus, handler)
    await nothing_left(client, topic)
    dead = {row["payload"]: row for row in await dead_letters(topic.database)}
    assert dead.keys() == {b"\0", b"\xff no envelope"}
    assert dead[b"\0"]["event_id"] == "a\\x00b"
    assert dead[b"\0"]["error"].startswith("first line\r\ngrößer \\x00 \\udcff")


@pytest.mark.usefixtures("quick_backoff")
async def test_one_that_dies_again_updates_its_row(topic: Topic, client: Client) -> None:
    bus = await topic.bus()
    [poison] = topic.messages(1)
    handler = Handler()
    handler.failures[poison.id] = [ValueError("for ever")]
    await bus.publish([poison])
    topic.consume(bus, handler)

    async def buried() -> list[Row]:
        return await dead_letters(topic.database)

    [first] = await eventually(buried)
    handler.failures[poison.id] = [KeyError("for ever")]
    [envelope] = pack([poison])
    await client.jetstream().publish(poison.subject, envelope.payload, headers={"Nats-Msg-Id": "another"})

    async def died_again() -> bool:
        [row] = await dead_letters(topic.database)
        return bool(row["died_at"] > first["died_at"])

    await eventually(died_again)
    [again] = await dead_letters(topic.database)
    assert again["error"] == "KeyError('for ever')"
    assert again["failures"] == 2 * first["failures"]
    assert again["first_failed_at"] == first["first_failed_at"]
    await nothing_left(client, topic)


@asynccontextmanager
async def way_to(database_url: str, port: int) -> AsyncIterator[None]:
    """Lets a database be reached through a port, for a while."""
    there = urlsplit(database_url)
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(there.hostname, there.port)
        pumps.update(asyncio.create_task(pump(*ends)) for ends in ((reader, forth), (back, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        await asyncio.gather(*pumps)


async def test_while_the_database_is_away_nothing_is_buried_and_nothing_lost(
    topic: Topic, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.consumption.BACKOFF", ())
    monkeypatch.setattr("kit.consumption.BURY_RETRY_SECONDS", 0.02)
    reachable, port = topic.database, free_port()
    url = urlsplit(reachable._url)
    topic.database = Database(url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{port}").geturl())
    bus = await topic.bus()
    [poison, harmless] = topic.messages(2)
    handler = Handler()
    handler.failures[poison.id] = [ValueError("for ever")]
    await bus.publish([poison])
    await bus.publish([harmless])
    topic.consume(bus, handler)

    async def tried_often() -> bool:
        return handler.deliveries[poison.id] >= 6 and await handler.has(1)

    await eventually(tried_often)
    assert await unacknowledged(client, topic) == 1
    assert await dead_letters(reachable) == []
    async with way_to(reachable._url, port):
        await nothing_left(client, topic)
        [dead] = await dead_letters(reachable)
        await topic.database.close()
    assert (dead["event_id"], dead["payload"]) == (poison.id, poison.payload)
    assert dead["deliveries"] >= 3
