"""Unary gRPC calls in a closed loop over a bare HTTP/2 connection.

grpc.aio as a client costs about 200 µs a call, as much as the system under test; this costs a tenth of it. It knows
as much of HTTP/2 (RFC 9113) as a well-behaved client must: settings, pings, flow control in both directions. We
refuse the server a dynamic header table, so that a header block can be skipped unread; only failures are decoded.
"""

import asyncio
import struct
import time
from collections.abc import Iterator
from typing import cast

import hpack

from tests.bench.tally import Tally

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 3, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = 1 << 30
DEFAULT_WINDOW = 65_535
FRAME = struct.Struct(">HBBBI")
"""Length (high 16 bits, low 8 bits), type, flags, stream."""


class GrpcConnection(asyncio.Protocol):
    """Keeps `streams` calls in flight while the tally is open; `done` is set once none is left.

    Each is the next of `calls`: its header block, and its message with the prefix of gRPC.
    """

    def __init__(self, tally: Tally, calls: Iterator[tuple[bytes, bytes]], streams: int) -> None:
        self.done = asyncio.Event()
        self._tally = tally
        self._calls = calls
        self._next = next(calls)
        self._idle = streams
        self._limit = streams
        self._window = DEFAULT_WINDOW
        self._received = 0
        self._next_stream = 1
        self._started: dict[int, float] = {}
        self._answered: set[int] = set()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        settings = struct.pack(">HIHI", HEADER_TABLE_SIZE, 0, INITIAL_WINDOW_SIZE, WINDOW)
        window = (WINDOW - DEFAULT_WINDOW).to_bytes(4, "big")
        out = [PREFACE, _frame(SETTINGS, 0, 0, settings), _frame(WINDOW_UPDATE, 0, 0, window)]
        self._fill(out)
        self._transport.write(b"".join(out))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        out: list[bytes] = []
        at = 0
        while len(data) - at >= FRAME.size:
            high, low, kind, flags, stream = FRAME.unpack_from(data, at)
            begin = at + FRAME.size
            end = begin + (high << 8 | low)
            if end > len(data):
                break
            if kind == DATA:
                self._received += end - begin
                if end > begin:
                    self._answered.add(stream)
                if flags & END_STREAM:
                    self._end(stream, "no trailers")
            elif kind == HEADERS:
                if flags & END_STREAM:
                    answered = stream in self._answered
                    self._end(stream, "" if answered else _failure(data[begin:end], flags))
            else:
                self._control(kind, flags, stream, data[begin:end], out)
            at = end
        self._rest = data[at:]
        if self._received > WINDOW // 2:
            out.append(_frame(WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
            self._received = 0
        self._fill(out)
        if out:
            self._transport.write(b"".join(out))

    def connection_lost(self, exc: Exception | None) -> None:
        for _ in self._started:
            self._tally.failed(f"connection lost: {exc}")
        self._started.clear()
        self.done.set()

    def _fill(self, out: list[bytes]) -> None:
        """Starts as many calls as may be in flight."""
        if not self._tally.is_open or not self._limit:
            if not self._started:
                self.done.set()
            return
        while self._idle and len(self._started) < self._limit and self._window >= len(self._next[1]):
            block, body = self._next
            self._next = next(self._calls)
            size = len(body)
            stream = self._next_stream
            self._next_stream += 2
            self._idle -= 1
            self._window -= size
            out += (
                FRAME.pack(len(block) >> 8, len(block) & 0xFF, HEADERS, END_HEADERS, stream),
                block,
                FRAME.pack(size >> 8, size & 0xFF, DATA, END_STREAM, stream),
                body,
            )
            self._started[stream] = time.perf_counter()

    def _end(self, stream: int, failure: str) -> None:
        started = self._started.pop(stream, None)
        self._answered.discard(stream)
        if started is None:
            return
        self._idle += 1
        if failure:
            self._tally.failed(failure)
        else:
            self._tally.accepted(started)

    def _control(self, kind: int, flags: int, stream: int, payload: bytes, out: list[bytes]) -> None:
        if kind == PING and not flags & ACK:
            out.append(_frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == MAX_CONCURRENT_STREAMS:
                    self._limit = min(self._limit, value)
                elif name == INITIAL_WINDOW_SIZE and value < len(self._next[1]):
                    raise RuntimeError(f"the server's window of {value} bytes is smaller than a request")
            out.append(_frame(SETTINGS, ACK, 0, b""))
        elif kind == RST_STREAM:
            self._end(stream, f"stream reset, code {int.from_bytes(payload, 'big')}")
        elif kind == GOAWAY:
            # What is in flight may still be answered; no more is begun here, and that is worth telling.
            self._limit = 0
            self._tally.failed("the server is going away")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return FRAME.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def _failure(block: bytes, flags: int) -> str:
    """Tells from a response without a message what went wrong."""
    if flags & PADDED:
        block = block[1 : len(block) - block[0]]
    if flags & PRIORITY:
        block = block[5:]
    headers = {str(name): str(value) for name, value in hpack.Decoder().decode(block)}
    status = headers.get("grpc-status", f"none, HTTP {headers.get(':status')}")
    return f"grpc-status {status}: {headers.get('grpc-message', '')}"
