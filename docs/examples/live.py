"""Prints what changes for a user: live.py ws://HOST:PORT ACCESS_TOKEN. Needs the package websockets."""

import asyncio
import json
import random
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException


async def listen(url: str, token: str) -> None:
    """Listens until the token has expired; whatever breaks, nothing is missed and nothing comes twice."""
    last = ""
    while True:
        try:
            async with connect(f"{url}/ws{last}", subprotocols=["gozon.v1", f"bearer.{token}"]) as socket:
                while True:
                    message = json.loads(await socket.recv())
                    # On "resync": read anew, by REST, what you show.
                    print(message["type"], message.get("data", ""), flush=True)
                    last = f"?after={message['id']}"
        except ConnectionClosed as end:
            if end.rcvd is not None and end.rcvd.code in (4400, 4401):
                raise
        except (OSError, WebSocketException) as error:
            print(error, file=sys.stderr)
        await asyncio.sleep(random.random())


asyncio.run(listen(*sys.argv[1:]))
