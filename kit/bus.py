"""NATS JetStream: the connection, what is declared on it, and publishing with acknowledgement."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import nats
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, StreamConfig, StreamInfo, StreamSource
from nats.js.client import JetStreamContext
from nats.js.errors import BadRequestError, NotFoundError, ServiceUnavailableError
from prometheus_client import Gauge

from kit import tracing
from kit.consumption import Consumer, Consumption, Handler, Room
from kit.db import Database
from kit.errors import Unavailable
from kit.events import Event, pack, unpack
from kit.following import Follower, Following
from kit.ids import new_id

PUBLISH_TIMEOUT = 2.0
"""Nobody answers for a stream whose leader died, and none of what was sent until there is another is stored."""
RETRY_SECONDS = 0.5
ACK_WAIT = 5.0
"""What a consumer that died had in hand goes to another one after this."""
MAX_ACK_PENDING = 1_000
DUPLICATE_WINDOW = 120.0
STREAM_EXISTS = 10058
"""JetStream's error for a stream that is there, and is another one."""

CONNECTED = Gauge("bus_connected", "Whether NATS is there; orders are accepted without it, and wait")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream and the subjects it keeps, for `max_age` seconds.

    One with `sources`, pairs of another stream and a subject of it, keeps copies of what those get once it is created.
    They can't change: other sources need another name.
    """

    name: str
    subjects: tuple[str, ...]
    max_age: float
    sources: tuple[tuple[str, str], ...] = ()


class Bus:
    """A connection to NATS that never gives up, and the streams and consumers that are declared on it."""

    def __init__(self, url: str, streams: Sequence[Stream], consumers: Sequence[Consumer], replicas: int = 1) -> None:
        """`url` is nats://user:password@host:port, or several with commas between them: a cluster.

        Each stream is kept on `replicas` of its servers.
        """
        self._url = url
        self._streams = streams
        self._consumers = consumers
        self._replicas = replicas
        self._client = Client()
        self._published = 0
        self._waiting: dict[int, tuple[_Publication, list[str]]] = {}
        self._connected = asyncio.Event()
        self._reconnected: list[Callable[[], None]] = []
        self._mending: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._consuming: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Connects, and declares streams and consumers; waits for NATS as long as that takes."""
        self._client = await nats.connect(
            self._url.split(","),
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
        while True:
            try:
                await self.declare()
            except (nats.errors.TimeoutError, ServiceUnavailableError) as error:
                # A cluster that is choosing its leaders.
                log.warning("declare_failed", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break

    async def declare(self) -> None:
        """Creates the streams and consumers, or brings them up to date. Any number of processes may do so at once."""
        js = self._client.jetstream()
        for stream in self._streams:
            config = StreamConfig(
                name=stream.name,
                subjects=list(stream.subjects),
                max_age=stream.max_age,
                duplicate_window=DUPLICATE_WINDOW,
                discard=DiscardPolicy.OLD,
                allow_direct=True,
                num_replicas=self._replicas,
            )
            if stream.sources:
                await _declare_sourcing(js, stream, config)
                continue
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

    async def publish_again(self, event: Event) -> None:
        """Publishes an event that JetStream may have had a moment ago, and would take for a duplicate.

        Errors: Unavailable when it is not stored within 2 seconds; then it may be, or not.
        """
        if not await self.publish([event], message_id=f"replay-{new_id()}"):
            raise Unavailable

    async def publish(self, events: Sequence[Event], *, message_id: str = "") -> set[str]:
        """Publishes events, all in flight at once, and returns the ids of those that JetStream has stored.

        What is not acknowledged within 2 seconds may or may not be stored; publish it again. By its `message_id`
        JetStream knows a single message; without one, by the events in it.
        """
        with tracing.hop("publish", "PRODUCER", events) as traced:
            return await self._publish(traced, message_id)

    async def _publish(self, events: Sequence[Event], message_id: str) -> set[str]:
        envelopes = list(pack(events))
        publication = _Publication(len(envelopes))
        first = self._published
        self._published += len(envelopes)
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                await self._connected.wait()
                for number, envelope in enumerate(envelopes, start=first):
                    self._waiting[number] = (publication, envelope.ids)
                    reply = f"{self._reply_prefix}{number}"
                    headers = {"Nats-Msg-Id": message_id or envelope.message_id}
                    await self._client.publish(envelope.subject, envelope.payload, reply=reply, headers=headers)
                await publication.done
        except TimeoutError:
            log.warning("publish_timed_out", events=len(events), stored=len(publication.stored))
        finally:
            for number in range(first, first + len(envelopes)):
                self._waiting.pop(number, None)
        if publication.refused:
            self._mend()
        return publication.stored

    async def subscribe(
        self, subjects: Sequence[str], callback: Callable[[Event], None]
    ) -> Callable[[], Awaitable[None]]:
        """Calls back for each event on `subjects` from now on, at most once, on every instance that subscribes.

        Returns the function that ends the subscription.
        """

        async def received(msg: Msg) -> None:
            for event in unpack(msg.subject, msg.data):
                callback(event)

        subscriptions = [await self._client.subscribe(subject, cb=received) for subject in subjects]

        async def unsubscribe() -> None:
            for subscription in subscriptions:
                await subscription.unsubscribe()

        return unsubscribe

    async def consume(
        self,
        consumer: Consumer,
        handler: Handler,
        database: Database | None,
        *,
        batch: int = 500,
        room: Room | None = None,
    ) -> None:
        """Hands whatever waits, about `batch` events at once, to `handler` until stop_consuming() is called.

        Dead letters go to `database`, that of the handler's service. With `room`, messages (of up to 100 events) are
        taken one by one, and only when it says so: what there is no room for waits in NATS, in nobody's hand.
        """
        consumption = Consumption(self._client, consumer, handler, database, batch, self._stop, self._mend, room)
        self._reconnected.append(consumption.nothing_asked)
        task = asyncio.create_task(consumption.run())
        self._consuming.add(task)
        await task

    async def follow(self, stream: Stream, seconds: float, follower: Follower) -> None:
        """Tells `follower` all that a stream got in the last `seconds` and gets from now on, in order, until
        stop_consuming() is called.

        Every instance that follows is told everything, each message once; see kit/following.py for what it hears when
        the stream was lost.
        """
        following = Following(self._client, stream.name, seconds, follower, self._stop, self._mend)
        self._reconnected.append(following.interrupted)
        task = asyncio.create_task(following.run())
        self._consuming.add(task)
        await task

    async def lag(self, consumer: Consumer) -> int:
        """Returns how many messages a consumer has yet to acknowledge, delivered or not. Errors: Unavailable."""
        try:
            # Shielded: a cancellation that comes together with the answer is lost in the client, which waits with
            # asyncio.wait_for (mended in Python 3.12); who cancelled a loop would wait for its end for ever.
            info = await asyncio.shield(self._client.jetstream().consumer_info(consumer.stream, consumer.name))
        except (nats.errors.Error, OSError) as error:
            raise Unavailable from error
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def is_idle(self, consumer: Consumer) -> bool:
        """Says whether nothing waits for a consumer; False when nobody can tell, or there has never been one."""
        try:
            return await self.lag(consumer) == 0
        except Unavailable:
            return False

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

    def _mend(self) -> None:
        """Declares anew, in the background, what NATS has lost with its storage."""
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._declare_if_lost())

    async def _declare_if_lost(self) -> None:
        try:
            # Looked at first: a cluster that is choosing its leaders has lost nothing, and has enough to do.
            if await self._is_something_lost():
                await self.declare()
        except Exception as error:
            log.warning("declare_failed", error=repr(error))

    async def _is_something_lost(self) -> bool:
        js = self._client.jetstream()
        try:
            for stream in self._streams:
                await js.stream_info(stream.name)
            for consumer in self._consumers:
                await js.consumer_info(consumer.stream, consumer.name)
        except NotFoundError:
            return True
        return False

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


async def _declare_sourcing(js: JetStreamContext, stream: Stream, config: StreamConfig) -> None:
    """Creates a stream with sources, if it is not there."""
    origins = {name: await js.stream_info(name) for name, _ in stream.sources}
    try:
        info = await js.stream_info(stream.name)
    except NotFoundError:
        pass
    else:
        if all(_made_at(origin) < _made_at(info) for origin in origins.values()):
            if info.config.num_replicas != config.num_replicas:
                await js.update_stream(info.config.evolve(num_replicas=config.num_replicas))
            return
        # An origin was lost and made anew. It is read from where its predecessor was read to, so all that comes before
        # would be left out.
        await js.delete_stream(stream.name)
    config.subjects = None
    # By number: when it is told to start by time, the server (2.15) leaves messages out.
    config.sources = [
        StreamSource(name=name, filter_subject=subject, opt_start_seq=origins[name].state.last_seq + 1)
        for name, subject in stream.sources
    ]
    try:
        await js.add_stream(config)
    except BadRequestError as error:
        # Somebody else was faster.
        if error.err_code != STREAM_EXISTS:
            raise


def _made_at(info: StreamInfo) -> datetime:
    assert info.created is not None
    return info.created


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
            # No such stream: NATS lost its storage. Or nobody leads it at the moment.
            self.refused = True
        self._unanswered -= 1
        if not self._unanswered:
            self.give_up()

    def give_up(self) -> None:
        """Waits for no further answers."""
        if not self.done.done():
            self.done.set_result(None)
