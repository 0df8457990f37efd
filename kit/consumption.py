"""One durable consumer at work: batches, bounded redelivery, dead letters.

Returning from a handler is an ack, raising is a nack. An event that keeps failing alone becomes a dead letter, a row
in the database of the handler's service, and blocks nobody; while the database is away nothing is counted against any
event, and nothing is acknowledged. A handler without a database loses what keeps failing, but for the log.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import Counter

from kit import tracing
from kit.batch import BUSY, EVENT_LINGER_SECONDS
from kit.db import Database
from kit.dead_letters import DeadLetter, bury
from kit.errors import DeadlineExceeded, Unavailable
from kit.events import Event, unpack
from kit.telemetry import BATCH_SIZE, traceparent

PULL = 32
"""Messages that a consumer has in hand or has asked for: what it can't handle within ACK_WAIT comes again."""
PULL_EXPIRES = 30.0
HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 2.5
"""An open pull that nobody has been heard of for so long died with the server of the cluster that had it."""
ROOM_SECONDS = 0.5
"""A handler that has no room for more is asked again after so long."""
REFUSED_SECONDS = 0.5
"""What NATS has refused it is asked for again after so long."""
BACKOFF = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds until a message that failed is delivered again, by failure; after the last one it is a dead letter."""
BURY_RETRY_SECONDS = 1.0
MAX_FAILURES = 10_000

_CONSUMER = "messaging.consumer.group.name"
"""The attribute of spans for it, by OpenTelemetry's conventions."""

CONSUMED = Counter("bus_consumed_total", "Messages handled", ["consumer", "outcome"])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Consumer:
    """A durable consumer: its name is its identity and never changes."""

    name: str
    stream: str
    subjects: tuple[str, ...]


_Delivery = tuple[Msg, Sequence[Event]]
"""A message of NATS, and the events in it."""

Handler = Callable[[Sequence[Event]], Awaitable[None]]

Room = Callable[[], Awaitable[bool]]
"""Says whether the handler can take more; Unavailable means no."""


class Consumption:
    """One durable consumer at work: keeps a pull request open, so that messages come without being asked for."""

    def __init__(
        self,
        client: Client,
        consumer: Consumer,
        handler: Handler,
        database: Database | None,
        batch: int,
        stop: asyncio.Event,
        mend: Callable[[], None],
        room: Room | None,
    ) -> None:
        self._client = client
        self._consumer = consumer
        self._handler = handler
        self._database = database
        self._stop = stop
        self._batch = batch
        self._mend = mend
        self._room = room
        # What is pulled must be handled: with a handler that may have no room, no more than it is asked for.
        self._most = 1 if room else PULL
        self._pull_subject = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.name}"
        self._inbox = client.new_inbox()
        self._arrived: deque[Msg] = deque()
        self._wake = asyncio.Event()
        self._asked = 0
        self._refused = False
        """Whether NATS has just said that there is no such consumer, or nobody who leads it."""
        self._failures: dict[str, tuple[int, float]] = {}
        """By event: how often it failed, and when for the first time (monotonic)."""

    async def run(self) -> None:
        """Pulls and handles until stopped."""
        subscription = await self._client.subscribe(self._inbox, cb=self._on_message, pending_msgs_limit=-1)
        stopper = asyncio.create_task(self._wake_on_stop())
        last = 0
        while not self._stop.is_set():
            if self._refused:
                self._refused = False
                self._mend()
                await self._wait(REFUSED_SECONDS)
            if self._asked + len(self._arrived) <= self._most // 2:
                if not await self._has_room():
                    await self._wait(ROOM_SECONDS)
                    continue
                await self._pull()
            if not self._arrived:
                self._wake.clear()
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    self.nothing_asked()
                continue
            if last > BUSY:
                await asyncio.sleep(EVENT_LINGER_SECONDS)
            batch = self._take()
            last = sum(len(events) for _, events in batch)
            BATCH_SIZE.labels(self._consumer.name).observe(last)
            try:
                await self._handle(batch)
            except Exception as error:
                # NATS is away: what was not acknowledged comes again.
                log.warning("batch_abandoned", consumer=self._consumer.name, error=repr(error))
        stopper.cancel()
        await subscription.unsubscribe()
        # Somebody else gets at once what this instance asked for and will not handle.
        for msg in self._arrived:
            await msg.nak()

    def nothing_asked(self) -> None:
        """Forgets the open pull, as the server does on a reconnect."""
        self._asked = 0
        self._wake.set()

    async def _has_room(self) -> bool:
        try:
            return self._room is None or await self._room()
        except Unavailable as error:
            log.warning("no_room", consumer=self._consumer.name, error=repr(error))
            return False

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def _pull(self) -> None:
        count = self._most - self._asked - len(self._arrived)
        request = {"batch": count, "expires": int(PULL_EXPIRES * 1e9), "idle_heartbeat": int(HEARTBEAT_SECONDS * 1e9)}
        self._asked += count
        await self._client.publish(self._pull_subject, json.dumps(request).encode(), reply=self._inbox)

    async def _on_message(self, msg: Msg) -> None:
        if msg.reply:
            self._asked -= 1
            self._arrived.append(msg)
        elif (headers := msg.headers or {}).get("Status") != "100":
            # The end of a pull: 408 expired, 409 consumer deleted and the like, 503 nobody there.
            self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", self._most)))
            if headers.get("Status") not in ("404", "408"):
                log.warning("pull_ended", consumer=self._consumer.name, status=headers)
                self._refused = True
        self._wake.set()

    async def _wake_on_stop(self) -> None:
        await self._stop.wait()
        self._wake.set()

    def _take(self) -> list[_Delivery]:
        """Takes from what has arrived until it makes a batch."""
        batch: list[_Delivery] = []
        taken = 0
        while self._arrived and taken < self._batch:
            msg = self._arrived.popleft()
            events = unpack(msg.subject, msg.data)
            taken += len(events)
            batch.append((msg, events))
        return batch

    async def _call(self, events: Sequence[Event]) -> None:
        """Calls the handler. What it does because of an event is part of the event's trace."""
        with tracing.hop("process", "CONSUMER", events, **{_CONSUMER: self._consumer.name}) as traced:
            await self._handler(traced)

    async def _handle(self, batch: list[_Delivery]) -> None:
        """Handles all events at once; if that fails, message by message, and then event by event."""
        events = [event for _, events in batch for event in events]
        try:
            await self._call(events)
        except Unavailable:
            await self._wait_for_database(batch)
        except Exception as error:
            if len(batch) > 1:
                for delivery in batch:
                    await self._handle([delivery])
            elif len(events) > 1:
                await self._handle_one_by_one(*batch[0])
            else:
                await self._failed(batch[0][0], {events[0]: error} if events else {})
        else:
            for msg, _ in batch:
                await msg.ack()
            self._succeeded(events)

    async def _handle_one_by_one(self, msg: Msg, events: Sequence[Event]) -> None:
        errors: dict[Event, Exception] = {}
        for event in events:
            try:
                await self._call([event])
            except Unavailable:
                await self._wait_for_database([(msg, events)])
                return
            except Exception as error:
                errors[event] = error
        self._succeeded([event for event in events if event not in errors])
        await self._failed(msg, errors)

    def _succeeded(self, events: Sequence[Event]) -> None:
        CONSUMED.labels(self._consumer.name, "handled").inc(len(events))
        for event in events if self._failures else ():
            self._failures.pop(event.id, None)

    async def _wait_for_database(self, batch: list[_Delivery]) -> None:
        # Nobody is to blame: wait, then let all of them come again.
        log.warning("handler_unavailable", consumer=self._consumer.name, messages=len(batch))
        for msg, _ in batch:
            await msg.nak(delay=BACKOFF[0])
        await asyncio.sleep(0.2)

    async def _failed(self, msg: Msg, errors: dict[Event, Exception]) -> None:
        """Lets a message come again for the sake of the events that failed; makes dead letters of the hopeless ones."""
        name = self._consumer.name
        delay = 0.0
        for event, error in errors.items():
            if isinstance(error, DeadlineExceeded):
                # A lock that somebody holds: slow, but nobody's fault.
                delay = max(delay, BACKOFF[0])
                continue
            # Counted here and not by the server, which counts the deliveries while the database was away too.
            failures, since = self._failures.get(event.id, (0, time.monotonic()))
            failures += 1
            if len(self._failures) >= MAX_FAILURES:
                # Those that another instance has handled since are never forgotten otherwise.
                self._failures.clear()
            self._failures[event.id] = failures, since
            traceparent.set(event.traceparent)
            if failures <= len(BACKOFF):
                delay = max(delay, BACKOFF[failures - 1])
                log.warning("redelivery", consumer=name, event_id=event.id, failures=failures, error=repr(error))
                CONSUMED.labels(name, "failed").inc()
                continue
            log.error("dead_letter", consumer=name, event_id=event.id, failures=failures, exc_info=error)
            letter = DeadLetter(
                name, event, error, failures, time.monotonic() - since, deliveries=msg.metadata.num_delivered
            )
            try:
                if self._database is not None:
                    await bury(self._database, letter)
            except Exception as trouble:
                # The database is away now: it comes again, and is buried when it fails then.
                log.warning("dead_letter_not_kept", consumer=name, event_id=event.id, error=repr(trouble))
                delay = max(delay, BURY_RETRY_SECONDS)
            else:
                self._failures.pop(event.id, None)
                CONSUMED.labels(name, "dead").inc()
        traceparent.set("")
        if delay:
            await msg.nak(delay=delay)
        else:
            # Only after the dead letters are committed: a crash in between makes them be written again, never lost.
            await msg.ack()
