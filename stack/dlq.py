"""`gozon dlq`: the dead letters of all services, which are rows in their databases (kit/dead_letters.py).

Replaying publishes an event again under its own id and then deletes the row. Whoever dies in between replays it once
more later, which is harmless: a consumer stands events that are delivered twice.
"""

import importlib
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import nats
import nats.errors
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from nats.js import JetStreamContext

import gozon
from kit.events import Event, pack
from stack.config import SERVICES
from stack.home import HomeError, Stack

PAGE = 500

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True)
class DeadLetter:
    """A row of dead_letters, and the service in whose database it is."""

    service: str
    consumer: str
    event_id: str
    subject: str
    reason: str
    failures: int
    deliveries: int
    first_failed_at: datetime
    died_at: datetime
    traceparent: str = field(repr=False)
    payload: bytes = field(repr=False)

    @property
    def message_type(self) -> str:
        """The full name of the event's message in the contract; empty when the contract knows no such subject."""
        message = message_types().get(self.subject)
        return str(message.DESCRIPTOR.full_name) if message else ""

    def event(self) -> dict[str, Any] | None:
        """Returns the event as JSON writes it; None when it can't be read."""
        message = message_types().get(self.subject)
        if message is None:
            return None
        try:
            return MessageToDict(message.FromString(self.payload), preserving_proto_field_name=True)
        except DecodeError:
            return None

    def summary(self) -> dict[str, Any]:
        """What `gozon dlq list --json` prints of it."""
        shown = ("service", "consumer", "event_id", "subject", "died_at", "reason", "deliveries")
        return {name: getattr(self, name) for name in shown}

    def details(self) -> dict[str, Any]:
        """What `gozon dlq show` prints."""
        more = ("failures", "first_failed_at", "traceparent", "message_type")
        return {
            **self.summary(),
            **{name: getattr(self, name) for name in more},
            "event": self.event(),
            "payload": self.payload.hex(),
        }


@dataclass(frozen=True)
class Choice:
    """Which dead letters are meant: those with these ids, or all; of one consumer, or of any."""

    ids: Sequence[str] | None = None
    consumer: str | None = None


def message_types() -> dict[str, type[Message]]:
    """Returns the contract's events by subject.

    The contract writes subjects in comments, which generated code does not have, but keeps a rule: OrderCreated and
    CaptureRequested in gozon.orders.v1 are `orders.created` and `orders.capture_requested`.
    """
    return dict(_message_types())


def _message_types() -> Iterator[tuple[str, type[Message]]]:
    root = Path(next(iter(gozon.__path__)))
    for file in sorted(root.glob("*/v*/events_pb2.py")):
        noun, version = file.parts[-3:-1]
        module = importlib.import_module(f"gozon.{noun}.{version}.events_pb2")
        for name, descriptor in module.DESCRIPTOR.message_types_by_name.items():
            words = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
            yield f"{noun}.{words.removeprefix(f'{noun[:-1]}_')}", GetMessageClass(descriptor)


async def find(stack: Stack, choice: Choice, limit: int | None = None) -> list[DeadLetter]:
    """Returns dead letters, the latest first, at most `limit`. Errors: kit.snapshot.AWAY."""
    found: list[DeadLetter] = []
    async for service, database in _databases(stack):
        rows = await database.fetch(_FIND, choice.ids, choice.consumer, limit)
        found += [_dead_letter(service, row) for row in rows]
    return sorted(found, key=lambda letter: letter.died_at, reverse=True)[:limit]


async def find_each(stack: Stack, choice: Choice) -> list[DeadLetter]:
    """Returns the dead letters of the ids chosen. Errors: HomeError when there is none of one id; kit.snapshot.AWAY."""
    found = await find(stack, choice)
    if unknown := sorted({*(choice.ids or ())} - {letter.event_id for letter in found}):
        of = f" of {choice.consumer}" if choice.consumer else ""
        raise HomeError(f"no dead letter{of} has the id {', '.join(unknown)}; `gozon dlq list` shows those there are")
    return found


async def replay(stack: Stack, choice: Choice) -> int:
    """Publishes dead letters again, the oldest ids first, and deletes each once JetStream has it; returns how many.

    One that dies anew in the meantime stays. Errors: HomeError for an unknown id, or when NATS is away or does not take
    one (it stays, and so do those after it); kit.snapshot.AWAY.
    """
    replayed = 0
    if choice.ids is not None:
        await find_each(stack, choice)
    async with _jetstream(stack) as js:
        async for service, database in _databases(stack):
            after = ("", "")
            while rows := await database.fetch(_PAGE, choice.ids, choice.consumer, *after, PAGE):
                for row in rows:
                    letter = _dead_letter(service, row)
                    await _publish(js, letter, replayed)
                    await database.execute(_DELETE, letter.consumer, letter.event_id, letter.died_at)
                    replayed += 1
                after = (letter.consumer, letter.event_id)
    return replayed


async def drop(stack: Stack, letters: Sequence[DeadLetter]) -> None:
    """Deletes dead letters for good, as they were found. Errors: kit.snapshot.AWAY."""
    async for service, database in _databases(stack):
        for letter in letters:
            if letter.service == service:
                await database.execute(_DELETE, letter.consumer, letter.event_id, letter.died_at)


async def _publish(js: JetStreamContext, letter: DeadLetter, replayed: int) -> None:
    [envelope] = pack([Event(letter.event_id, letter.subject, letter.payload, letter.traceparent)])
    # Not under the event's id: for two minutes JetStream would take it for the message that it has already.
    headers = {"Nats-Msg-Id": f"replay-{uuid.uuid4()}"}
    try:
        await js.publish(letter.subject, envelope.payload, headers=headers)
    except nats.errors.Error as error:
        raise HomeError(
            f"NATS does not take {letter.event_id} ({error!r}): it stays a dead letter; published before it: {replayed}"
        ) from error


@asynccontextmanager
async def _jetstream(stack: Stack) -> AsyncIterator[JetStreamContext]:
    try:
        client = await nats.connect(stack.nats_url.split(","), allow_reconnect=False, connect_timeout=2)
    except (nats.errors.Error, OSError) as error:
        raise HomeError(f"NATS can't be reached ({error!r}): look at {stack.home.command('status')}") from error
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def _databases(stack: Stack) -> AsyncIterator[tuple[str, Connection]]:
    """Connects to the databases, one after the other, that have dead letters: those of services which consume."""
    for service in SERVICES:
        database = await asyncpg.connect(stack.database_url(service), timeout=5, command_timeout=30)
        try:
            if await database.fetchval("SELECT to_regclass('dead_letters') IS NOT NULL"):
                yield service, database
        finally:
            await database.close()


def _dead_letter(service: str, row: asyncpg.Record) -> DeadLetter:
    return DeadLetter(service, **row)


_COLUMNS = """SELECT consumer, event_id, subject, error AS reason, failures, deliveries, first_failed_at, died_at,
    traceparent, payload FROM dead_letters
    WHERE ($1::text[] IS NULL OR event_id = ANY($1)) AND ($2::text IS NULL OR consumer = $2)"""
_FIND = f"{_COLUMNS} ORDER BY died_at DESC LIMIT $3"
_PAGE = f"{_COLUMNS} AND (consumer, event_id) > ($3, $4) ORDER BY consumer, event_id LIMIT $5"
_DELETE = "DELETE FROM dead_letters WHERE consumer = $1 AND event_id = $2 AND died_at = $3"
