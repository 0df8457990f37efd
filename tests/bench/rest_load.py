"""HTTP/1.1 requests in a closed loop, one at a time on each connection, as a partner's backend sends them."""

import asyncio
import time
from collections.abc import Iterator
from typing import cast

from tests.bench.tally import Tally

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
ACCEPTED = (b"HTTP/1.1 200 ", b"HTTP/1.1 201 ")
CONTENT_LENGTH = b"\r\ncontent-length: "


class RestConnection(asyncio.Protocol):
    """Sends the next of `requests` again and again while the tally is open; then sets `done`.

    200 and 201 are what counts as accepted.
    """

    def __init__(self, tally: Tally, requests: Iterator[bytes]) -> None:
        self.done = asyncio.Event()
        self._tally = tally
        self._requests = requests
        self._started: float | None = None
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._started is None or not is_whole(self._answer):
            return
        if self._answer.startswith(ACCEPTED):
            self._tally.accepted(self._started)
        else:
            head, _, body = self._answer.partition(HEAD_END)
            self._tally.failed(f"{head.split(HEAD_END[:2])[0].decode()}: {body[:300].decode()}")
        self._answer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._started is not None:
            self._tally.failed(f"connection lost: {exc}")
        self.done.set()

    def _send(self) -> None:
        if self._tally.is_open:
            self._started = time.perf_counter()
            self._transport.write(next(self._requests))
        else:
            self._started = None
            self.done.set()


def is_whole(answer: bytes) -> bool:
    """Says whether an answer to a request has arrived with its body."""
    head = answer.find(HEAD_END)
    if head < 0:
        return False
    at = answer.find(CONTENT_LENGTH, 0, head)
    if at < 0:
        return answer.endswith(LAST_CHUNK)
    at += len(CONTENT_LENGTH)
    return len(answer) >= head + len(HEAD_END) + int(answer[at : answer.index(b"\r\n", at)])
