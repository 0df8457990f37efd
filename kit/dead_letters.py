"""Dead letters: events that a consumer has given up, kept in the database of its service with the error.

`gozon dlq` lists them, replays them once their cause is gone, and drops them. So does System, by asking the service
(kit/maintenance.py).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from kit.db import Database, Row, sql
from kit.errors import NotFound
from kit.events import Event

MAX_ERROR_LENGTH = 2_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a consumer could not handle."""

    consumer: str
    event: Event
    error: Exception
    failures: int
    """How often the handler failed on it."""
    failing_seconds: float
    """How long ago that was for the first time."""
    deliveries: int
    """How often the server has delivered its message; more than failures when the database was away."""


class DeadLetterNotFound(NotFound):
    """There is no such dead letter: it was replayed or dropped, or its event has died again since you saw it."""

    reason = "DEAD_LETTER_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Key:
    """Which dead letter of a service is meant: its event, as it was given up at that moment."""

    consumer: str
    event_id: str
    died_at: datetime


LATEST = Key("", "", datetime(9999, 12, 31, tzinfo=UTC))
"""Those after it are all there are."""


class DeadLetters:
    """The dead letters of one service."""

    def __init__(self, database: Database, publish_again: Callable[[Event], Awaitable[None]]) -> None:
        self._database = database
        self._publish_again = publish_again

    async def page(self, after: Key, limit: int) -> list[Row]:
        """Returns dead letters that come after one, the latest first. Errors: as Database.autocommit."""
        async with self._database.autocommit() as connection:
            return await connection.execute(_PAGE, **_parameters(after), limit=limit)

    async def replay(self, key: Key) -> None:
        """Publishes the event once more and then deletes the row; dying in between, it is replayed twice.

        Errors: DeadLetterNotFound; Unavailable, also when JetStream does not take the event.
        """
        async with self._database.autocommit() as connection:
            row = await connection.one_or_none(_FIND, **_parameters(key))
            if row is None:
                raise DeadLetterNotFound
            # Not in a transaction: consumers may bury it again at once.
            await self._publish_again(Event(key.event_id, row["subject"], row["payload"], row["traceparent"]))
            await connection.execute(_DROP, **_parameters(key))

    async def drop(self, key: Key) -> None:
        """Deletes a dead letter for good. Errors: DeadLetterNotFound; as Database.autocommit."""
        async with self._database.autocommit() as connection:
            if not await connection.execute(_DROP, **_parameters(key)):
                raise DeadLetterNotFound


def _parameters(key: Key) -> dict[str, str | datetime]:
    return {"consumer": key.consumer, "event_id": key.event_id, "died_at": key.died_at}


async def bury(database: Database, letter: DeadLetter) -> None:
    """Keeps a dead letter; it is committed when this returns. Errors: as Database.autocommit.

    One that was replayed and died again updates what is still there of it.
    """
    event = letter.event
    async with database.autocommit() as connection:
        await connection.execute(
            _BURY,
            consumer=letter.consumer,
            event_id=_storable(event.id),
            subject=_storable(event.subject),
            payload=event.payload,
            traceparent=_storable(event.traceparent),
            error=_storable(repr(letter.error))[:MAX_ERROR_LENGTH],
            failures=letter.failures,
            failing_seconds=letter.failing_seconds,
            deliveries=letter.deliveries,
        )


def _storable(text: str) -> str:
    """Returns text that PostgreSQL takes, whatever somebody has put on the bus or into an error."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


_BURY = sql("""
    INSERT INTO dead_letters (consumer, event_id, subject, payload, traceparent, error, failures, deliveries,
                              first_failed_at, died_at)
    VALUES (:consumer::text, :event_id::text, :subject::text, :payload::bytea, :traceparent::text, :error::text,
            :failures::int, :deliveries::int, now() - make_interval(secs => :failing_seconds), now())
    ON CONFLICT (consumer, event_id) DO UPDATE SET
        subject = excluded.subject, payload = excluded.payload, traceparent = excluded.traceparent,
        error = excluded.error, failures = dead_letters.failures + excluded.failures,
        deliveries = excluded.deliveries, died_at = excluded.died_at
""")
# Consumers have names of their own in all of the system, so the sequence is that of all services together.
_PAGE = sql("""
    SELECT consumer, event_id, died_at, subject, error, failures, first_failed_at, traceparent FROM dead_letters
    WHERE died_at <= :died_at::timestamptz
          AND (died_at, consumer, event_id) < (:died_at::timestamptz, :consumer::text, :event_id::text)
    ORDER BY died_at DESC, consumer DESC, event_id DESC LIMIT :limit
""")
_THIS = "consumer = :consumer::text AND event_id = :event_id::text AND died_at = :died_at::timestamptz"
_FIND = sql(f"SELECT subject, payload, traceparent FROM dead_letters WHERE {_THIS}")
_DROP = sql(f"DELETE FROM dead_letters WHERE {_THIS} RETURNING 1")
