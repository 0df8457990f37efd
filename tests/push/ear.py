"""A client of push, as tests need one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from tests.push.contract import assert_documented
from tests.support import PATIENCE_SECONDS

Message = dict[str, Any]

CLOSE_SECONDS = 0.1
"""A socket that both sides have closed is not waited for longer: Envoy keeps its connection for a second."""


class Ear:
    """An open socket, and what was heard on it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.greeting: Message = {}
        self.heard: list[Message] = []
        """All messages but the greeting."""

    @property
    def last_id(self) -> str:
        """What to go on from."""
        return str(self.heard[-1]["id"] if self.heard else self.greeting["id"])

    async def hear(self) -> Message:
        """Waits for the next message and returns it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message: Message = json.loads(await self.connection.recv())
        assert_documented(message)
        if not self.greeting:
            self.greeting = message
        else:
            self.heard.append(message)
        return message

    async def hear_until(self, kind: str, **data: Any) -> Message:
        """Waits for a message of a type whose data have these values, and returns it."""
        while True:
            message = await self.hear()
            if message["type"] == kind and data.items() <= message.get("data", {}).items():
                return message

    async def close_code(self) -> int:
        """Waits until the other side has closed the socket, and returns why."""
        try:
            while True:
                await self.hear()
        except ConnectionClosed:
            return self.connection.close_code or 0


@asynccontextmanager
async def listening(  # what a handshake may have
    url: str, token: str = "", *, after: str = "", cookie: str = "", origin: str = "", greeted: bool = True
) -> AsyncIterator[Ear]:
    """Opens a socket at http://host:port; unless told otherwise, waits for the greeting."""
    protocols = [Subprotocol("gozon.v1"), Subprotocol(f"bearer.{token}")] if token else None
    socket = connect(
        url.replace("http", "ws", 1) + "/ws" + (f"?after={after}" if after else ""),
        subprotocols=protocols,
        additional_headers={"cookie": f"theme=dark; gozon_access={cookie}"} if cookie else {},
        origin=Origin(origin) if origin else None,
        compression=None,
        ping_interval=None,
        close_timeout=CLOSE_SECONDS,
        proxy=None,
    )
    async with socket as connection:
        ear = Ear(connection)
        if greeted:
            await ear.hear()
        yield ear
