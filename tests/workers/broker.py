"""A broker of a test's own, and a look at the tasks that wait in one."""

import asyncio
import base64
import json
import subprocess
from typing import NamedTuple

from redis.asyncio import Redis

from stack import binaries, config
from tests.support import eventually, free_port


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
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(f"redis://127.0.0.1:{self._port}/0")

    async def start(self) -> None:
        """Starts it, unless it runs, and waits until it listens."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond, and nobody else is waiting
            [
                *binaries.dying_with_parent("KILL"),
                str(binaries.valkey_server()),
                *("--bind", "127.0.0.1", "--port", str(self._port), "--save", "", "--maxmemory-policy", "noeviction"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        async def listens() -> bool:
            return not config.port_is_free(self._port)

        await eventually(listens)

    async def kill(self) -> None:
        """Ends it as a crash would."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None
        # What it has open leads nowhere.
        await self.client.aclose()
