"""NATS JetStream: publishing with acknowledgement, consuming in batches, bounded redelivery, dead letters.

Returning from a handler is an ack, raising is a nack. A message that keeps failing alone is moved to the stream DEAD
and blocks nobody; while the database is away nothing is counted against any message.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import nats
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, StreamConfig
from nats.js.errors import NotFoundError
from prometheus_client import Counter

from kit.batch import BUSY, LINGER_SECONDS
from kit.errors import Unavailable
from kit.telemetry import BATCH_SIZE, traceparent

PUBLISH_TIMEOUT = 5.0
ACK_WAIT = 5.0
"""What a consumer that died had in hand goes to another one after this."""
MAX_ACK_PENDING = 5_000
PULL_EXPIRES = 30.0
DUPLICATE_WINDOW = 120.0
BACKOFF = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds until a message that failed is delivered again, by delivery; after the last one it is a dead letter."""

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
        self._waiting: dict[int, tuple[_Publication, str]] = {}
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

    async def publish(self, messages: Sequence[Message]) -> set[str]:
        """Publishes messages, all in flight at once, and returns the ids of those that JetStream has stored.

        What is not acknowledged within 5 seconds may or may not be stored; publish it again.
        """
        publication = _Publication(len(messages))
        first = self._published
        self._published += len(messages)
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                await self._connected.wait()
                for number, message in enumerate(messages, start=first):
                    self._waiting[number] = (publication, message.id)
                    await self._client.publish(
                        message.subject,
                        message.payload,
                        reply=f"{self._reply_prefix}{number}",
                        headers={"Nats-Msg-Id": message.id, "traceparent": message.traceparent},
                    )
                await publication.done
        except TimeoutError:
            log.warning("publish_timed_out", messages=len(messages), stored=len(publication.stored))
        finally:
            for number in range(first, first + len(messages)):
                self._waiting.pop(number, None)
        if publication.refused:
            await self._redeclare()
        return publication.stored

    async def subscribe(self, subject: str, callback: Callable[[Message], None]) -> Callable[[], Awaitable[None]]:
        """Calls back for each message on `subject` from now on, at most once, on every instance that subscribes.

        Returns the function that ends the subscription.
        """

        async def received(msg: Msg) -> None:
            callback(_message(msg))

        subscription = await self._client.subscribe(subject, cb=received)
        return subscription.unsubscribe

    async def consume(self, consumer: Consumer, handler: Handler, *, batch: int = 500) -> None:
        """Hands batches of whatever waits to `handler` until stop_consuming() is called."""
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
        """Flushes and disconnects."""
        await self._client.drain()

    async def ping(self) -> None:
        """Returns when NATS answers. Errors: Unavailable."""
        if not self._client.is_connected:
            raise Unavailable
        await self._client.flush(timeout=2)

    async def _redeclare(self) -> None:
        # When NATS lost its storage, the streams and consumers are gone with it.
        try:
            await self.declare()
        except Exception as error:
            log.warning("declare_failed", error=repr(error))

    async def _on_publish_ack(self, msg: Msg) -> None:
        publication, message_id = self._waiting.pop(int(msg.subject[len(self._reply_prefix) :]), (None, ""))
        if publication:
            publication.answered(message_id, stored=b'"stream"' in msg.data and b'"error"' not in msg.data)

    async def _on_error(self, error: Exception) -> None:
        log.warning("nats_error", error=repr(error))

    async def _on_disconnect(self) -> None:
        self._connected.clear()
        # Their acknowledgements will not come any more.
        for publication, _ in self._waiting.values():
            publication.give_up()

    async def _on_reconnect(self) -> None:
        log.info("nats_reconnected")
        self._connected.set()
        for callback in self._reconnected:
            callback()


class _Publication:
    """Messages in flight, and what came of them."""

    def __init__(self, unanswered: int) -> None:
        self._unanswered = unanswered
        self.stored: set[str] = set()
        self.refused = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not unanswered:
            self.done.set_result(None)

    def answered(self, message_id: str, *, stored: bool) -> None:
        """Notes the answer to one message; the publication is done when all are answered."""
        if stored:
            self.stored.add(message_id)
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
        self._arrived: list[Msg] = []
        self._wake = asyncio.Event()
        self._asked = 0

    async def run(self) -> None:
        """Pulls and handles until stopped."""
        subscription = await self._client.subscribe(self._inbox, cb=self._on_message, pending_msgs_limit=-1)
        stopper = asyncio.create_task(self._wake_on_stop())
        last = 0
        while not self._stop.is_set():
            if self._asked <= self._batch // 2:
                await self._pull()
            if not self._arrived:
                self._wake.clear()
                try:
                    async with asyncio.timeout(PULL_EXPIRES + 1):
                        await self._wake.wait()
                except TimeoutError:
                    self.nothing_asked()
                continue
            if last > BUSY and len(self._arrived) < self._batch:
                await asyncio.sleep(LINGER_SECONDS)
            batch, self._arrived = self._arrived[: self._batch], self._arrived[self._batch :]
            last = len(batch)
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

    async def _pull(self) -> None:
        count = self._batch - self._asked
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
            self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", self._batch)))
            if headers.get("Status") not in ("404", "408"):
                log.warning("pull_ended", consumer=self._consumer.name, status=headers)
                await asyncio.sleep(0.5)
                await self._redeclare()
        self._wake.set()

    def nothing_asked(self) -> None:
        """Forgets the open pull, as the server does on a reconnect."""
        self._asked = 0
        self._wake.set()

    async def _wake_on_stop(self) -> None:
        await self._stop.wait()
        self._wake.set()

    async def _handle(self, batch: list[Msg]) -> None:
        name = self._consumer.name
        BATCH_SIZE.labels(name).observe(len(batch))
        messages = [_message(msg) for msg in batch]
        if len(messages) == 1:
            traceparent.set(messages[0].traceparent)
        try:
            await self._handler(messages)
        except Unavailable:
            # The database is away. Nobody is to blame: wait, then let all of them come again.
            log.warning("handler_unavailable", consumer=name, messages=len(batch))
            for msg in batch:
                await msg.nak(delay=BACKOFF[0])
            await asyncio.sleep(0.2)
        except Exception as error:
            if len(batch) > 1:
                for msg in batch:
                    await self._handle([msg])
            else:
                await self._failed(batch[0], messages[0], error)
        else:
            for msg in batch:
                await msg.ack()
            CONSUMED.labels(name, "handled").inc(len(batch))
        finally:
            traceparent.set("")

    async def _failed(self, msg: Msg, message: Message, error: Exception) -> None:
        deliveries = msg.metadata.num_delivered
        name = self._consumer.name
        if deliveries <= len(BACKOFF):
            log.warning("redelivery", consumer=name, message=message.id, deliveries=deliveries, error=repr(error))
            await msg.nak(delay=BACKOFF[deliveries - 1])
            CONSUMED.labels(name, "failed").inc()
            return
        log.error("dead_letter", consumer=name, message=message.id, deliveries=deliveries, exc_info=error)
        # Stored first, terminated after: a crash in between makes a second copy, never none.
        await self._js.publish(
            f"dead.{name}",
            message.payload,
            headers={
                "Nats-Msg-Id": f"{name}:{message.id}",
                "traceparent": message.traceparent,
                "Gozon-Message-Id": message.id,
                "Gozon-Subject": message.subject,
                "Gozon-Deliveries": str(deliveries),
                "Gozon-Error": repr(error).replace("\n", " ")[:500],
            },
        )
        await msg.term()
        CONSUMED.labels(name, "dead").inc()


DEAD = Stream("DEAD", ("dead.>",), max_age=30 * 24 * 3600)


def _message(msg: Msg) -> Message:
    headers = msg.headers or {}
    return Message(headers.get("Nats-Msg-Id", ""), msg.subject, msg.data, headers.get("traceparent", ""))
