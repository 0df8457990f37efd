"""What a service does for its plumbing beside its work: deletes what is old, measures what waits.

Any number of instances may run: they skip each other's rows, and all measure the same.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import nan

import structlog
from prometheus_client import Gauge

from kit.bus import Bus
from kit.cleaning import delete_all
from kit.consumption import Consumer
from kit.db import Database, sql
from kit.ids import first_id_at

INBOX_SECONDS = 8 * 24 * 3600.0
"""How long an event is known to be handled: a day longer than the streams keep it."""
KEY_SECONDS = 25 * 3600.0
"""How long an idempotency key is kept: an hour longer than clients are told."""
CLEAN_SECONDS = 10.0
MEASURE_SECONDS = 10.0
COUNTED = 10_000
"""Dead letters beyond this number are not counted: it would take long and tell nobody more."""

OUTBOX_AGE = Gauge("outbox_age_seconds", "Age of the event that is first in the outbox; 0 when it is empty")
INBOX_ROWS = Gauge("inbox_rows", "Rows in the inbox, as PostgreSQL last estimated")
DEAD_LETTERS = Gauge("dead_letters", f"Events that wait for a person; counted up to {COUNTED}")
LAG = Gauge("bus_consumer_lag", "Messages that a consumer has yet to acknowledge, delivered or not", ["consumer"])

log = structlog.get_logger()


class Housekeeping:
    """The housekeeping of one service."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        consumers: Sequence[Consumer],
        *,
        has_inbox: bool,
        caches: Mapping[str, Callable[[], Awaitable[int]]] | None = None,
    ) -> None:
        """`consumers` are the service's own; `caches` clear each a kind of what is cached, and say how much it was."""
        self._database = database
        self._bus = bus
        self._consumers = consumers
        self._has_inbox = has_inbox
        self._caches = caches or {}

    async def run(self) -> None:
        """Cleans and measures every 10 seconds, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._clean_now_and_then())
            tasks.create_task(self._measure_now_and_then())

    async def clean_up(self, dead_letter_days: int) -> dict[str, int]:
        """Deletes what is too old, and dead letters of so many days, and clears the caches.

        Returns how many rows and values, by table and cache. Errors: Unavailable.
        """
        age = dead_letter_days * 24 * 3600.0
        deleted = await self._clean()
        deleted["dead_letters"] = await delete_all(self._database, "dead_letters", _CLEAN_DEAD_LETTERS, age=age)
        for name, clear in self._caches.items():
            deleted[name] = await clear()
        return deleted

    async def _clean_now_and_then(self) -> None:
        while True:
            try:
                await self._clean()
            except Exception as error:
                log.warning("clean_failed", error=repr(error))
            await asyncio.sleep(CLEAN_SECONDS)

    async def _clean(self) -> dict[str, int]:
        deleted = {
            "idempotency_keys": await delete_all(self._database, "idempotency_keys", _CLEAN_KEYS, age=KEY_SECONDS)
        }
        for consumer in self._consumers if self._has_inbox else ():
            before = first_id_at(time.time() - INBOX_SECONDS)
            parameters = {"consumer": consumer.name, "before": before, "age": INBOX_SECONDS}
            found = await delete_all(self._database, "inbox", _CLEAN_INBOX, **parameters)
            deleted["inbox"] = deleted.get("inbox", 0) + found
        return deleted

    async def _measure_now_and_then(self) -> None:
        while True:
            await self._measure_database()
            await measure_lag(self._bus, self._consumers)
            await asyncio.sleep(MEASURE_SECONDS)

    async def _measure_database(self) -> None:
        age = inbox_rows = dead = nan
        try:
            async with self._database.autocommit() as connection:
                first = await connection.one_or_none(_OUTBOX_AGE)
                age = first["age"] if first else 0.0
                [row] = await connection.execute(_DEAD_LETTERS, limit=COUNTED)
                dead = row["dead"]
                if self._has_inbox:
                    [row] = await connection.execute(_INBOX_ROWS)
                    inbox_rows = row["estimate"]
        except Exception as error:
            log.warning("measuring_failed", error=repr(error))
        # What can't be measured is not a number: the last one known would pass for the present one.
        OUTBOX_AGE.set(age)
        DEAD_LETTERS.set(dead)
        if self._has_inbox:
            INBOX_ROWS.set(inbox_rows)


async def measure_lag(bus: Bus, consumers: Sequence[Consumer]) -> None:
    """Measures what waits for consumers."""
    for consumer in consumers:
        lag = nan
        try:
            lag = await bus.lag(consumer)
        except Exception as error:
            log.warning("measuring_failed", consumer=consumer.name, error=repr(error))
        LAG.labels(consumer.name).set(lag)


# By ctid: whatever the planner believes, the rows just locked are looked up and nothing else is read. The id finds what
# is old; handled_at tells what was handled lately though it is old, such as a dead letter that was replayed.
_CLEAN_INBOX = sql("""
    DELETE FROM inbox WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM inbox WHERE consumer = :consumer::text AND event_id < :before::uuid
        AND handled_at < now() - make_interval(secs => :age)
        ORDER BY event_id LIMIT :limit FOR UPDATE SKIP LOCKED
    )) RETURNING 1
""")
_CLEAN_KEYS = sql("""
    DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM idempotency_keys WHERE created_at < now() - make_interval(secs => :age)
        ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )) RETURNING 1
""")
_CLEAN_DEAD_LETTERS = sql("""
    DELETE FROM dead_letters WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM dead_letters WHERE died_at < now() - make_interval(secs => :age)
        ORDER BY died_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )) RETURNING 1
""")
_OUTBOX_AGE = sql("""
    SELECT greatest(0, extract(epoch FROM now() - created_at))::float8 AS age FROM outbox ORDER BY id LIMIT 1
""")
_DEAD_LETTERS = sql("""
    SELECT count(*) AS dead FROM (SELECT FROM dead_letters ORDER BY consumer, event_id LIMIT :limit) AS counted
""")
_INBOX_ROWS = sql("SELECT greatest(0, reltuples)::float8 AS estimate FROM pg_class WHERE oid = 'inbox'::regclass")
