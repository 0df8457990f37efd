"""NATS JetStream: publishing with acknowledgement, consuming in batches, bounded redelivery, dead letters.

Many events travel in one message (gozon.events.v1.Envelope), which is what makes an event cheap under load; outbox,
inbox, handlers and dead letters know only single events.

Returning from a handler is an ack, raising is a nack. A message that keeps failing alone is moved to the stream DEAD
and blocks nobody; while the database is away nothing is counted against any message.
"""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import nats
import nats.errors
import structlog
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, StreamConfig
from nats.js.errors import NotFoundError
from prometheus_client import Counter, Gauge

from gozon.events.v1.envelope_pb2 import Envelope, Event
from kit.batch import BUSY, EVENT_LINGER_SECONDS
from kit.errors import DeadlineExceeded, Unavailable
from kit.telemetry import BATCH_SIZE, traceparent

PUBLISH_TIMEOUT = 5.0
ACK_WAIT = 5.0
"""What a consumer that died had in hand goes to another one after this."""
MAX_ACK_PENDING = 1_000
PULL = 32
"""Messages that a consumer has in hand or has asked for: what it can't handle within ACK_WAIT comes again."""
ENVELOPE_EVENTS = 100
ENVELOPE_BYTES = 256 * 1024
"""An envelope is closed when it holds this much; NATS takes messages up to 1 MiB."""
PULL_EXPIRES = 30.0
DUPLICATE_WINDOW = 120.0
BACKOFF = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds until a message that failed is delivered again, by failure; after the last one it is a dead letter."""

MAX_FAILURES = 10_000

CONNECTED = Gauge("bus_connected", "Whether NATS is there; orders are accepted without it, and wait")

CONSUMED = Counter("bus_consumed_total", "Messages handled", ["consumer", "outcome"])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Message:
    """An event on its way. `id` is a UUID and stays the same however often it is published or delivered."""

    id: str
    subject: str
    payload: bytes
    traceparent: str


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream and the subjects it keeps, for `max_age` seconds."""

    name: str
    subjects: tuple[str, ...]
    max_age: float


@dataclass(frozen=True, slots=True)
class Consumer:
    """A durable consumer: its name is its identity and never changes."""

    name: str
    stream: str
    subjects: tuple[str, ...]


_Delivery = tuple[Msg, Sequence[Message]]
"""A message of NATS, and the events in it."""

Handler = Callable[[Sequence[Message]], Awaitable[None]]


class Bus:
    """A connection to NATS that never gives up, and the streams and consumers that are declared on it."""

    def __init__(self, url: str, streams: Sequence[Stream], consumers: Sequence[Consumer]) -> None:
        """`url` is nats://user:password@host:port."""
        self._url = url
        self._streams = streams
        self._consumers = consumers
        self._client = Client()
        self._published = 0
        self._waiting: dict[int, tuple[_Publication, list[str]]] = {}
        self._connected = asyncio.Event()
        self._reconnected: list[Callable[[], None]] = []
        self._stop = asyncio.Event()
        self._consuming: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Connects, and declares streams and consumers."""
        self._client = await nats.connect(
            self._url,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            ping_interval=10,
            pending_size=64 * 1024 * 1024,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_reconnect,
        )
        self._connected.set()
        CONNECTED.set(1)
        self._reply_prefix = self._client.new_inbox() + "."
        await self._client.subscribe(self._reply_prefix + "*", cb=self._on_publish_ack)
        await self.declare()

    async def declare(self) -> None:
        """Creates the streams and consumers, or brings them up to date. Any number of processes may do so at once."""
        js = self._client.jetstream()
        for stream in (*self._streams, DEAD):
            config = StreamConfig(
                name=stream.name,
                subjects=list(stream.subjects),
                max_age=stream.max_age,
                duplicate_window=DUPLICATE_WINDOW,
                discard=DiscardPolicy.OLD,
                allow_direct=True,
            )
            try:
                await js.update_stream(config)
            except NotFoundError:
                await js.add_stream(config)
        for consumer in self._consumers:
            await js.add_consumer(
                consumer.stream,
                ConsumerConfig(
                    durable_name=consumer.name,
                    filter_subjects=list(consumer.subjects),
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=ACK_WAIT,
                    max_ack_pending=MAX_ACK_PENDING,
                    # Bounded here, by consume(): the server can't tell a poison message from an absent database.
                    max_deliver=-1,
                ),
            )

    async def publish(self, events: Sequence[Message]) -> set[str]:
        """Publishes events, all in flight at once, and returns the ids of those that JetStream has stored.

        What is not acknowledged within 5 seconds may or may not be stored; publish it again.
        """
        envelopes = list(_envelopes(events))
        publication = _Publication(len(envelopes))
        first = self._published
        self._published += len(envelopes)
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                await self._connected.wait()
                for number, (subject, ids, payload) in enumerate(envelopes, start=first):
                    self._waiting[number] = (publication, ids)
                    reply = f"{self._reply_prefix}{number}"
                    await self._client.publish(subject, payload, reply=reply, headers={"Nats-Msg-Id": _message_id(ids)})
                await publication.done
        except TimeoutError:
            log.warning("publish_timed_out", events=len(events), stored=len(publication.stored))
        finally:
            for number in range(first, first + len(envelopes)):
                self._waiting.pop(number, None)
        if publication.refused:
            await self._redeclare()
        return publication.stored

    async def subscribe(
        self, subjects: Sequence[str], callback: Callable[[Message], None]
    ) -> Callable[[], Awaitable[None]]:
        """Calls back for each event on `subjects` from now on, at most once, on every instance that subscribes.

        Returns the function that ends the subscription.
        """

        async def received(msg: Msg) -> None:
            for message in _messages(msg):
                callback(message)

        subscriptions = [await self._client.subscribe(subject, cb=received) for subject in subjects]

        async def unsubscribe() -> None:
            for subscription in subscriptions:
                await subscription.unsubscribe()

        return unsubscribe

    async def consume(self, consumer: Consumer, handler: Handler, *, batch: int = 500) -> None:
        """Hands whatever waits, about `batch` events at once, to `handler` until stop_consuming() is called."""
        consumption = _Consumption(self._client, consumer, handler, batch, self._stop, self._redeclare)
        self._reconnected.append(consumption.nothing_asked)
        task = asyncio.create_task(consumption.run())
        self._consuming.add(task)
        await task

    async def stop_consuming(self) -> None:
        """Returns when the batches that were begun are finished; no further ones are."""
        self._stop.set()
        await asyncio.gather(*self._consuming, return_exceptions=True)

    async def close(self) -> None:
        """Flushes and disconnects; when NATS is away, just disconnects."""
        try:
            await self._client.drain()
        except nats.errors.Error:
            await self._client.close()

    async def ping(self) -> None:
        """Returns when NATS answers. Errors: Unavailable."""
        if not self._client.is_connected:
            raise Unavailable
        try:
            await self._client.flush(timeout=2)
        except (nats.errors.Error, OSError) as error:
            raise Unavailable from error

    async def _redeclare(self) -> None:
        # When NATS lost its storage, the streams and consumers are gone with it.
        try:
            await self.declare()
        except Exception as error:
            log.warning("declare_failed", error=repr(error))

    async def _on_publish_ack(self, msg: Msg) -> None:
        number = int(msg.subject[len(self._reply_prefix) :])
        if number in self._waiting:
            publication, ids = self._waiting.pop(number)
            publication.answered(ids, stored=b'"stream"' in msg.data and b'"error"' not in msg.data)

    async def _on_error(self, error: Exception) -> None:
        log.warning("nats_error", error=repr(error))

    async def _on_disconnect(self) -> None:
        self._connected.clear()
        CONNECTED.set(0)
        # Their acknowledgements will not come any more.
        for publication, _ in self._waiting.values():
            publication.give_up()

    async def _on_reconnect(self) -> None:
        log.info("nats_reconnected")
        self._connected.set()
        CONNECTED.set(1)
        for callback in self._reconnected:
            callback()


class _Publication:
    """Envelopes in flight, and what came of them."""

    def __init__(self, unanswered: int) -> None:
        self._unanswered = unanswered
        self.stored: set[str] = set()
        self.refused = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not unanswered:
            self.done.set_result(None)

    def answered(self, ids: Sequence[str], *, stored: bool) -> None:
        """Notes the answer to one envelope; the publication is done when all are answered."""
        if stored:
            self.stored.update(ids)
        else:
            # No such stream: NATS lost its storage.
            self.refused = True
        self._unanswered -= 1
        if not self._unanswered:
            self.give_up()

    def give_up(self) -> None:
        """Waits for no further answers."""
        if not self.done.done():
            self.done.set_result(None)


class _Consumption:
    """One durable consumer at work: keeps a pull request open, so that messages come without being asked for."""

    def __init__(
        self,
        client: Client,
        consumer: Consumer,
        handler: Handler,
        batch: int,
        stop: asyncio.Event,
        redeclare: Callable[[], Awaitable[None]],
    ) -> None:
        self._client = client
        self._js: JetStreamContext = client.jetstream()
        self._consumer = consumer
        self._handler = handler
        self._stop = stop
        self._batch = batch
        self._redeclare = redeclare
        self._pull_subject = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.name}"
        self._inbox = client.new_inbox()
        self._arrived: deque[Msg] = deque()
        self._wake = asyncio.Event()
        self._asked = 0
        self._failures: dict[str, int] = {}

    async def run(self) -> None:
        """Pulls and handles until stopped."""
        subscription = await self._client.subscribe(self._inbox, cb=self._on_message, pending_msgs_limit=-1)
        stopper = asyncio.create_task(self._wake_on_stop())
        last = 0
        while not self._stop.is_set():
            if self._asked + len(self._arrived) <= PULL // 2:
                await self._pull()
            if not self._arrived:
                self._wake.clear()
                try:
                    async with asyncio.timeout(PULL_EXPIRES + 1):
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

    async def _pull(self) -> None:
        count = PULL - self._asked - len(self._arrived)
        request = {"batch": count, "expires": int(PULL_EXPIRES * 1e9)}
        self._asked += count
        await self._client.publish(self._pull_subject, json.dumps(request).encode(), reply=self._inbox)

    async def _on_message(self, msg: Msg) -> None:
        if msg.reply:
            self._asked -= 1
            self._arrived.append(msg)
        else:
            # The end of a pull: 408 expired, 409 consumer deleted and the like, 503 nobody there.
            headers = msg.headers or {}
            self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", PULL)))
            if headers.get("Status") not in ("404", "408"):
                log.warning("pull_ended", consumer=self._consumer.name, status=headers)
                await asyncio.sleep(0.5)
                await self._redeclare()
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
            events = _messages(msg)
            taken += len(events)
            batch.append((msg, events))
        return batch

    async def _handle(self, batch: list[_Delivery]) -> None:
        """Handles all events at once; if that fails, message by message, and then event by event."""
        events = [event for _, events in batch for event in events]
        try:
            await self._handler(events)
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

    async def _handle_one_by_one(self, msg: Msg, events: Sequence[Message]) -> None:
        errors: dict[Message, Exception] = {}
        for event in events:
            try:
                await self._handler([event])
            except Unavailable:
                await self._wait_for_database([(msg, events)])
                return
            except Exception as error:
                errors[event] = error
        self._succeeded([event for event in events if event not in errors])
        await self._failed(msg, errors)

    def _succeeded(self, events: Sequence[Message]) -> None:
        CONSUMED.labels(self._consumer.name, "handled").inc(len(events))
        for event in events if self._failures else ():
            self._failures.pop(event.id, None)

    async def _wait_for_database(self, batch: list[_Delivery]) -> None:
        # Nobody is to blame: wait, then let all of them come again.
        log.warning("handler_unavailable", consumer=self._consumer.name, messages=len(batch))
        for msg, _ in batch:
            await msg.nak(delay=BACKOFF[0])
        await asyncio.sleep(0.2)

    async def _failed(self, msg: Msg, errors: dict[Message, Exception]) -> None:
        """Lets a message come again for the sake of the events that failed; makes dead letters of the hopeless ones."""
        name = self._consumer.name
        delay = 0.0
        for event, error in errors.items():
            if isinstance(error, DeadlineExceeded):
                # A lock that somebody holds: slow, but nobody's fault.
                delay = max(delay, BACKOFF[0])
                continue
            # Counted here and not by the server, which counts the deliveries while the database was away too.
            failures = self._failures.pop(event.id, 0) + 1
            traceparent.set(event.traceparent)
            if failures <= len(BACKOFF):
                if len(self._failures) >= MAX_FAILURES:
                    # Those that another instance has handled since are never forgotten otherwise.
                    self._failures.clear()
                self._failures[event.id] = failures
                delay = max(delay, BACKOFF[failures - 1])
                log.warning("redelivery", consumer=name, event_id=event.id, failures=failures, error=repr(error))
                CONSUMED.labels(name, "failed").inc()
            else:
                log.error("dead_letter", consumer=name, event_id=event.id, failures=failures, exc_info=error)
                await self._bury(event, failures, error)
                CONSUMED.labels(name, "dead").inc()
        traceparent.set("")
        if delay:
            await msg.nak(delay=delay)
        else:
            # Only after the dead letters are stored: a crash in between makes a second copy, never none.
            await msg.ack()

    async def _bury(self, event: Message, failures: int, error: Exception) -> None:
        (_, _, payload), *_ = _envelopes([event])
        await self._js.publish(
            f"dead.{self._consumer.name}",
            payload,
            headers={
                "Nats-Msg-Id": f"{self._consumer.name}:{event.id}",
                "Gozon-Message-Id": event.id,
                "Gozon-Subject": event.subject,
                "Gozon-Failures": str(failures),
                "Gozon-Error": ascii(error)[:500],
            },
        )


DEAD = Stream("DEAD", ("dead.>",), max_age=30 * 24 * 3600)


def _envelopes(events: Sequence[Message]) -> Iterator[tuple[str, list[str], bytes]]:
    """Packs events by subject, in order: subject, ids, payload."""
    by_subject: dict[str, list[Message]] = {}
    for event in events:
        by_subject.setdefault(event.subject, []).append(event)
    for subject, company in by_subject.items():
        start = size = 0
        for end, event in enumerate(company):
            if end > start and (end - start >= ENVELOPE_EVENTS or size + len(event.payload) > ENVELOPE_BYTES):
                yield _envelope(subject, company[start:end])
                start, size = end, 0
            size += len(event.payload)
        yield _envelope(subject, company[start:])


def _envelope(subject: str, events: Sequence[Message]) -> tuple[str, list[str], bytes]:
    envelope = Envelope(events=[Event(id=e.id, traceparent=e.traceparent, payload=e.payload) for e in events])
    return subject, [event.id for event in events], envelope.SerializeToString()


def _messages(msg: Msg) -> list[Message]:
    """Unpacks the events of a message; one that is no envelope becomes an event that no handler can read."""
    try:
        events = Envelope.FromString(msg.data).events
    except DecodeError:
        return [Message(hashlib.sha256(msg.data).hexdigest(), msg.subject, msg.data, "")]
    return [Message(event.id, msg.subject, event.payload, event.traceparent) for event in events]


def _message_id(ids: Sequence[str]) -> str:
    """Tells JetStream that the same events in the same company are a duplicate; others are the inbox's affair."""
    return ids[0] if len(ids) == 1 else hashlib.sha256("".join(ids).encode()).hexdigest()
