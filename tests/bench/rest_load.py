"""HTTP/1.1 requests in a closed loop, one at a time on each connection, as a partner's backend sends them."""

import asyncio
import time
from collections.abc import Iterator
from itertools import cycle
from typing import cast

from tests.bench.tally import Tally

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CONTENT_LENGTH = b"\r\ncontent-length: "


class RestConnection(asyncio.Protocol):
    """Posts `body` again and again with the next of `tokens` while the tally is open; then sets `done`.

    201 is what counts as accepted.
    """

    def __init__(self, tally: Tally, path: str, authority: str, tokens: list[str], body: bytes) -> None:
        self.done = asyncio.Event()
        self._tally = tally
        self._requests: Iterator[bytes] = cycle([_request(path, authority, token, body) for token in tokens])
        self._started: float | None = None
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._started is None or not _is_whole(self._answer):
            return
        if self._answer.startswith(b"HTTP/1.1 201 "):
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


def _request(path: str, authority: str, token: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _is_whole(answer: bytes) -> bool:
    head = answer.find(HEAD_END)
    if head < 0:
        return False
    at = answer.find(CONTENT_LENGTH, 0, head)
    if at < 0:
        return answer.endswith(LAST_CHUNK)
    at += len(CONTENT_LENGTH)
    return len(answer) >= head + len(HEAD_END) + int(answer[at : answer.index(b"\r\n", at)])
