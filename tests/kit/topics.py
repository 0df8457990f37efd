"""What tests of consumers share: a topic of their own, and a handler that fails as often as it is told to."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nats.aio.client import Client

from kit.bus import Bus, Stream
from kit.consumption import Consumer
from kit.consumption import Handler as AnyHandler
from kit.db import Database
from kit.events import Event
from kit.ids import new_id


@dataclass
class Topic:
    """A stream, a subject in it and a consumer of it that only one test uses, and connections to them."""

    url: str
    database: Database
    """Where its dead letters go."""
    stream: Stream
    subject: str
    consumer: Consumer
    buses: list[Bus]
    tasks: list[asyncio.Task[None]]

    async def bus(self) -> Bus:
        """Connects once more: what another instance of a service would have."""
        bus = Bus(self.url, [self.stream], [self.consumer])
        await bus.connect()
        self.buses.append(bus)
        return bus

    def consume(self, bus: Bus, handler: AnyHandler, batch: int = 500) -> None:
        """Hands what comes to `handler` until the test ends."""
        self.tasks.append(asyncio.create_task(bus.consume(self.consumer, handler, self.database, batch=batch)))

    def messages(self, number: int) -> list[Event]:
        """Makes events of the topic."""
        return [Event(new_id(), self.subject, str(n).encode(), "") for n in range(number)]


class Handler:
    """Notes what is delivered, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[Event]] = []
        self.deliveries: Counter[str] = Counter()
        self.handled: list[str] = []
        self.failures: dict[str, list[Exception]] = {}

    async def __call__(self, messages: Sequence[Event]) -> None:
        self.batches.append(list(messages))
        self.deliveries.update(message.id for message in messages)
        for message in messages:
            if left := self.failures.get(message.id):
                raise left[0] if len(left) == 1 and left[0].args == ("for ever",) else left.pop(0)
        self.handled += [message.id for message in messages]

    async def has(self, number: int) -> bool:
        """Says whether so many were handled."""
        return len(self.handled) >= number


async def unacknowledged(client: Client, topic: Topic) -> int:
    """Returns how many messages the consumer has yet to acknowledge."""
    info = await client.jetstream().consumer_info(topic.stream.name, topic.consumer.name)
    return int(info.num_ack_pending or 0) + int(info.num_pending or 0)
