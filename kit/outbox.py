"""Transactional outbox: an event is written in the transaction of its cause, and published after the commit.

The commit itself wakes the relay with the messages in hand, so nothing is read back and no interval is waited for.
What a crash left behind is found by the sweep, on any instance. A row is deleted only after JetStream acknowledged
its message; a message that is published twice has the same id both times, and consumers tell.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import structlog
from prometheus_client import Counter, Gauge

from kit.batch import BUSY, EVENT_LINGER_SECONDS
from kit.bus import Bus
from kit.db import Database, Transaction, sql
from kit.events import Event
from kit.telemetry import BATCH_SIZE

PUBLISHED = Counter("outbox_published_total", "Messages published and acknowledged", ["from"])
BACKLOG = Gauge("outbox_backlog", "Messages in hand that wait to be published")

BATCH = 500
IN_HAND = 20_000
"""More than this stays in the table only, for the sweep, so that a long outage of NATS does not fill the memory."""
RETRY_SECONDS = 0.2
DELETE_SECONDS = 0.05
SWEEP_SECONDS = 1.0
LEFT_BEHIND_SECONDS = 5.0
"""Rows older than this belong to nobody alive, or to somebody very slow; publishing them twice is harmless."""

_RELAYED = BATCH_SIZE.labels("relay")

log = structlog.get_logger()


class Outbox:
    """The outbox of one database and the relay that empties it. Any number of instances may run at once."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus
        self._in_hand: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._stored: set[str] = set()
        self._some_stored = asyncio.Event()
        self._stopping = False
        self._drained = asyncio.Event()

    async def add(self, tx: Transaction, messages: Sequence[Event]) -> None:
        """Writes messages in `tx`; they are published once it is committed."""
        if not messages:
            return
        await tx.execute(
            _ADD,
            ids=[m.id for m in messages],
            subjects=[m.subject for m in messages],
            payloads=[m.payload for m in messages],
            traceparents=[m.traceparent for m in messages],
        )
        tx.after_commit(lambda: self._hand_over(messages))

    async def run(self) -> None:
        """Relays until drain() was called and nothing is in hand."""
        deleter = asyncio.create_task(self._delete_now_and_then())
        sweeper = asyncio.create_task(self._sweep_now_and_then())
        last = 0
        try:
            while self._in_hand or not self._stopping:
                if not self._in_hand:
                    self._wake.clear()
                    await self._wake.wait()
                if last > BUSY and len(self._in_hand) < BATCH and not self._stopping:
                    await asyncio.sleep(EVENT_LINGER_SECONDS)
                batch = [self._in_hand.popleft() for _ in range(min(len(self._in_hand), BATCH))]
                last = len(batch)
                BACKLOG.set(len(self._in_hand))
                _RELAYED.observe(last)
                try:
                    stored = await self._bus.publish(batch)
                except Exception as error:
                    log.warning("publish_failed", messages=last, error=repr(error))
                    stored = set()
                self._stored.update(stored)
                self._some_stored.set()
                if len(stored) < last:
                    if self._stopping:
                        # NATS is away: the sweep of another instance, or of the next start, takes what is left.
                        break
                    self._in_hand.extendleft(m for m in reversed(batch) if m.id not in stored)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            sweeper.cancel()
            deleter.cancel()
            await asyncio.gather(sweeper, deleter, return_exceptions=True)
            await self._delete()
            self._drained.set()

    async def drain(self) -> None:
        """Returns once everything in hand is published, or left to the sweep."""
        self._stopping = True
        self._wake.set()
        await self._drained.wait()

    def _hand_over(self, messages: Sequence[Event]) -> None:
        if len(self._in_hand) < IN_HAND:
            self._in_hand.extend(messages)
            self._wake.set()

    async def _delete_now_and_then(self) -> None:
        """Deletes what is stored some milliseconds later, and so the rows of several batches at once."""
        while True:
            await self._some_stored.wait()
            await asyncio.sleep(DELETE_SECONDS)
            await self._delete()

    async def _delete(self) -> None:
        stored, self._stored = self._stored, set()
        self._some_stored.clear()
        if not stored:
            return
        try:
            async with self._database.autocommit() as connection:
                await connection.execute(_DELETE, ids=list(stored))
            PUBLISHED.labels("commit").inc(len(stored))
        except Exception as error:
            # The sweep publishes them once more, and deletes them.
            log.warning("delete_failed", messages=len(stored), error=repr(error))

    async def _sweep_now_and_then(self) -> None:
        # The first sweep comes for what this instance left behind when it died a moment ago.
        age = 1.0
        while True:
            try:
                while await self._sweep(age) == BATCH:
                    pass
                age = LEFT_BEHIND_SECONDS
            except Exception as error:
                log.warning("sweep_failed", error=repr(error))
            await asyncio.sleep(SWEEP_SECONDS)

    async def _sweep(self, age: float) -> int:
        # SKIP LOCKED and the transaction that stays open keep several instances from taking the same rows.
        async with self._database.transaction() as tx:
            rows = await tx.execute(_LEFT_BEHIND, age=age, limit=BATCH)
            if not rows:
                return 0
            messages = [Event(str(r["id"]), r["subject"], r["payload"], r["traceparent"]) for r in rows]
            stored = await self._bus.publish(messages)
            await tx.execute(_DELETE, ids=list(stored))
        log.info("swept", messages=len(stored))
        PUBLISHED.labels("sweep").inc(len(stored))
        return len(stored)


_ADD = sql("""
    INSERT INTO outbox (id, subject, payload, traceparent)
    SELECT * FROM unnest(:ids::uuid[], :subjects::text[], :payloads::bytea[], :traceparents::text[])
""")
_DELETE = sql("DELETE FROM outbox WHERE id = ANY(:ids::uuid[])")
_LEFT_BEHIND = sql("""
    SELECT id, subject, payload, traceparent FROM outbox
    WHERE created_at < now() - make_interval(secs => :age) ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
""")
