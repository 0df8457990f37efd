"""Reading a stream from some time ago and then live, in order, without a trace of it left in NATS.

Each instance has a consumer of its own, in NATS's memory, which ends with the connection. It is made anew from the last
message that was read whenever one is missing, nothing is heard of NATS for some seconds, or the connection was lost.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from kit.events import Event, unpack

HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 3.5
"""Without a message or heartbeat for so long the consumer is taken for dead."""
RETRY_SECONDS = 0.5

log = structlog.get_logger()


class Follower(Protocol):
    """Who is told what a stream gets."""

    def begin(self, life: str, sequence: int) -> None:
        """What comes next follows `sequence`, in this life of the stream, and need not follow what came before.

        Called at first, and after the stream, or the part of it that was not read yet, was lost.
        """

    def receive(self, sequence: int, at: datetime, events: Sequence[Event]) -> None:
        """Takes one message: its number in the stream, when the stream got it, and its events."""

    def caught_up(self) -> None:
        """All that the stream had when this reading of it began has been received."""


class Following:
    """One stream, being followed."""

    def __init__(
        self,
        client: Client,
        stream: str,
        seconds: float,
        follower: Follower,
        stop: asyncio.Event,
        mend: Callable[[], None],
    ) -> None:
        self._client = client
        self._stream = stream
        self._seconds = seconds
        self._follower = follower
        self._stop = stop
        self._mend = mend
        self._arrived: asyncio.Queue[Msg | None] = asyncio.Queue()
        """None: the connection was lost, or it is time to stop."""
        self._life = ""
        self._last = 0
        """The number of the last message that was received."""

    async def run(self) -> None:
        """Follows until stopped."""
        stopper = asyncio.create_task(self._wake_on_stop())
        while not self._stop.is_set():
            try:
                await self._follow()
            except NotFoundError:
                self._mend()
            except Exception as error:
                log.warning("following_failed", stream=self._stream, error=repr(error))
            if not self._stop.is_set():
                await asyncio.sleep(RETRY_SECONDS)
        stopper.cancel()

    def interrupted(self) -> None:
        """Has the consumer made anew: with the connection, messages may have been lost."""
        self._arrived.put_nowait(None)

    async def _wake_on_stop(self) -> None:
        await self._stop.wait()
        self.interrupted()

    async def _follow(self) -> None:
        """Reads until something is missing."""
        # New ones each time: what is still on its way to the last consumer must not come in between.
        inbox, self._arrived = self._client.new_inbox(), asyncio.Queue()
        subscription = await self._client.subscribe(inbox, cb=self._arrived.put)
        try:
            target = await self._begin(inbox)
            await self._read(target)
        finally:
            await subscription.unsubscribe()

    async def _begin(self, inbox: str) -> int:
        """Makes a consumer that goes on where reading stopped, if that can be; returns the last message there is."""
        js = self._client.jetstream()
        info = await js.stream_info(self._stream)
        assert info.created is not None
        # When it was made, in microseconds: one that was made anew is another one.
        life, state = format(int(info.created.timestamp() * 1e6), "x"), info.state
        config = ConsumerConfig(
            deliver_subject=inbox,
            ack_policy=AckPolicy.NONE,
            max_deliver=1,
            mem_storage=True,
            num_replicas=1,
            flow_control=True,
            idle_heartbeat=HEARTBEAT_SECONDS,
        )
        continues = life == self._life and state.first_seq <= self._last + 1 and self._last <= state.last_seq
        if self._life:
            # After a loss what the stream already has is no news for those who are told to read everything anew.
            config.deliver_policy = DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = (self._last if continues else state.last_seq) + 1
        else:
            config.deliver_policy = DeliverPolicy.BY_START_TIME
            config.opt_start_time = datetime.now(UTC) - timedelta(seconds=self._seconds)
        consumer = await js.add_consumer(self._stream, config)
        assert consumer.delivered is not None
        if not continues:
            log.info("following", stream=self._stream, life=life, anew=bool(self._life))
            self._life, self._last = life, consumer.delivered.stream_seq
            self._follower.begin(life, self._last)
        return self._last + (consumer.num_pending or 0)

    async def _read(self, target: int) -> None:
        """Hands over what comes; returns when something is missing."""
        delivered = 0
        while True:
            if self._last >= target:
                self._follower.caught_up()
                target = sys.maxsize
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    msg = await self._arrived.get()
            except TimeoutError:
                log.warning("following_silence", stream=self._stream)
                return
            if msg is None:
                return
            if status := (msg.headers or {}).get("Status"):
                # A heartbeat says what should have come; one with an address, or flow control, wants an answer.
                headers = msg.headers or {}
                if asks := msg.reply or headers.get("Nats-Consumer-Stalled"):
                    await self._client.publish(asks)
                if status != "100" or int(headers.get("Nats-Last-Consumer", delivered)) != delivered:
                    log.warning("following_gap", stream=self._stream, status=headers)
                    return
                continue
            meta = msg.metadata
            if meta.sequence.consumer != delivered + 1:
                log.warning("following_gap", stream=self._stream, after=self._last)
                return
            delivered = meta.sequence.consumer
            self._last = meta.sequence.stream
            self._follower.receive(self._last, meta.timestamp, unpack(msg.subject, msg.data))
