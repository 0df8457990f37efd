"""A broker of a test's own, and a look at the tasks that wait in one."""

import base64
import json
from typing import NamedTuple

from redis.asyncio import Redis

from tests.valkey import ValkeyServer


class Waiting(NamedTuple):
    """A task in a queue."""

    name: str
    arguments: list[str]
    traceparent: str


class Broker:
    """The tasks in some broker."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = Redis.from_url(url)

    async def waiting(self, queue: str) -> list[Waiting]:
        """Returns what waits in a queue, in the order in which workers take it."""
        messages = [json.loads(message) for message in await self.client.lrange(queue, 0, -1)]
        return [
            Waiting(
                message["headers"]["task"],
                json.loads(base64.b64decode(message["body"]))[0],
                message["headers"]["traceparent"],
            )
            for message in reversed(messages)
        ]

    async def taken(self, kind: str) -> int:
        """Returns how many tasks workers of a kind have taken and not ended."""
        return int(await self.client.hlen(f"unacked.{kind}"))

    async def make_older(self, kind: str) -> None:
        """Has it that all tasks that workers of a kind have taken were taken very long ago."""
        index = f"unacked_index.{kind}"
        await self.client.zunionstore(index, {index: 0})


class OwnBroker(Broker):
    """A Valkey of a test's own, to be killed and started again; what it had is gone then."""

    def __init__(self) -> None:
        self._server = ValkeyServer()
        self.start = self._server.start
        super().__init__(self._server.url)

    async def kill(self) -> None:
        """Ends it as a crash would."""
        await self._server.kill()
        # What it has open leads nowhere.
        await self.client.aclose()
