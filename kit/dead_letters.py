"""Dead letters: events that a consumer has given up, kept in the database of its service with the error.

`gozon dlq` lists them, replays them once their cause is gone, and drops them.
"""

from dataclasses import dataclass

from kit.db import Database, sql
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
