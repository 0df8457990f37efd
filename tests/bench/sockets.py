"""Clients of push, a process of its own: `python -m tests.bench.sockets URL --tokens FILE --heard FILE`.

Opens a socket for each token, and notes what is told on it and when. Says `open` once all have been greeted, answers
each line of its input with how many messages it has heard, and at the end of the input writes them down and ends: a
line each, with the number of the token, Unix seconds and the text. A socket that is refused or closed is an error.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from tests.push.raw import PING, PONG, TEXT, frame, raw_socket

AT_ONCE = 32
"""Handshakes under way: as many more would wait in the edge."""


async def hear(url: str, tokens: Sequence[str]) -> list[tuple[int, float, str]]:
    """Listens until the end of the input; returns what was heard, greetings included."""
    heard: list[tuple[int, float, str]] = []
    greeted: set[int] = set()
    handshakes = asyncio.Semaphore(AT_ONCE)

    async def listen(number: int) -> None:
        async with raw_socket(url, tokens[number]) as raw:
            async for opcode, payload in raw.frames():
                if opcode == TEXT:
                    heard.append((number, time.time(), payload.decode()))
                    if number not in greeted:
                        greeted.add(number)
                        handshakes.release()
                elif opcode == PING:
                    raw.writer.write(frame(PONG, payload))
        raise RuntimeError(f"socket {number} was closed")

    commands = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(commands)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async with asyncio.TaskGroup() as everybody:
        listening = []
        for number in range(len(tokens)):
            await handshakes.acquire()
            listening.append(everybody.create_task(listen(number)))
        for _ in range(AT_ONCE):
            await handshakes.acquire()
        print("open", flush=True)
        while await commands.readline():
            print(len(heard), flush=True)
        for task in listening:
            task.cancel()
    return heard


def main() -> None:
    """Listens; exits 1 when a socket is refused or closed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sockets", description=__doc__)
    parser.add_argument("url", metavar="URL", help="http://host:port of the edge, or of an instance of push")
    parser.add_argument("--tokens", type=Path, required=True, help="file with an access token a line")
    parser.add_argument("--heard", type=Path, required=True, help="file to write")
    given = parser.parse_args()
    heard = uvloop.run(hear(given.url, given.tokens.read_text().split()))
    given.heard.write_text("".join(f"{json.dumps(line)}\n" for line in heard))


if __name__ == "__main__":
    main()
