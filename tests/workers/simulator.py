"""The real simulator of a payout provider, as a process of a test's own."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from stack import binaries
from tests.support import eventually, free_port

SECRET = "only-for-tests"


class Provider:
    """The simulated provider of some stack: it does as it is told, and its book can be read."""

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self.client = httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {secret}"}, timeout=20)

    async def behave(self, **behaviour: Any) -> None:
        """Makes it behave like this, and in nothing else otherwise than well."""
        answer = await self.client.put("/behaviour", json=behaviour)
        assert answer.status_code == 200, answer.text

    async def book(self) -> dict[str, dict[str, Any]]:
        """Returns all it has done, by key."""
        payouts = (await self.client.get("/book")).json()["payouts"]
        assert len({payout["key"] for payout in payouts}) == len(payouts)
        return {payout["key"]: payout for payout in payouts}


class Simulator(Provider):
    """A provider of a test's own, to be killed and started again; its book stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._book = folder / "book.sqlite"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(f"http://127.0.0.1:{self._port}", SECRET)

    async def start(self) -> None:
        """Starts it and waits until it answers."""
        self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond, and nobody else is waiting
            [
                *binaries.dying_with_parent("KILL"),
                *(sys.executable, "-m", "stack.provider", f"127.0.0.1:{self._port}", str(self._book)),
            ],
            env=os.environ | {"GOZON_PROVIDER_SECRET": SECRET},
            stderr=subprocess.DEVNULL,
        )

        async def answers() -> bool:
            try:
                return (await self.client.get("/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(answers)

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def stop(self) -> None:
        """Ends it for good."""
        await self.client.aclose()
        await asyncio.to_thread(self.kill)
