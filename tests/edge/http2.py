"""HTTP/2 frame by frame, for what no well-behaved client sends."""

import asyncio
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from hpack import Decoder, Encoder

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION = 0, 1, 3, 4, 7, 9
END_STREAM, END_HEADERS = 1, 4
CANCEL, ENHANCE_YOUR_CALM = 8, 11


@dataclass
class Answer:
    """What came on a stream."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Connection:
    """One connection, with which a test does as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._encoder, self._decoder = Encoder(), Decoder()
        self._last_stream = -1

    @classmethod
    async def open(cls, target: str) -> Self:
        """Connects to host:port and says hello."""
        host, _, port = target.partition(":")
        one = cls(*await asyncio.open_connection(host, int(port)))
        one._writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        one.send(SETTINGS, 0, 0, b"")
        return one

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Sends a frame."""
        self._writer.write(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

    def get(self, path: str, *, more: list[tuple[str, str]] | None = None) -> int:
        """Sends a GET and returns its stream."""
        self._last_stream += 2
        headers = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path), *(more or [])]
        self.send(HEADERS, END_STREAM | END_HEADERS, self._last_stream, self._encoder.encode(headers))
        return self._last_stream

    def reset(self, stream: int) -> None:
        """Gives a request up."""
        self.send(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))

    async def frame(self) -> tuple[int, int, int, bytes]:
        """Returns the next frame: kind, flags, stream, payload. Errors: IncompleteReadError at the end."""
        head = await self._reader.readexactly(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        return kind, flags, stream, await self._reader.readexactly(int.from_bytes(head[:3], "big"))

    async def answer(self, stream: int) -> Answer:
        """Returns the whole answer on a stream; others are skipped."""
        answer = Answer()
        while True:
            kind, flags, number, payload = await self.frame()
            assert kind not in (RST_STREAM, GOAWAY), payload
            if kind == HEADERS:
                answer_headers = {str(name): str(value) for name, value in self._decoder.decode(payload)}
                if number == stream:
                    answer.headers |= answer_headers
            elif kind == DATA and number == stream:
                answer.body += payload
            if number == stream and kind in (HEADERS, DATA) and flags & END_STREAM:
                return answer

    async def close(self) -> None:
        """Ends the connection, if the other side did not."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
