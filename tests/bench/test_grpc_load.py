"""The HTTP/2 client keeps to the rules, whatever the server says."""

import asyncio
from itertools import cycle
from typing import cast

import hpack
import pytest

from tests.bench import grpc_load
from tests.bench.grpc_load import FRAME, GrpcConnection
from tests.bench.tally import Tally

BODY = b"x" * 20_000
Frame = tuple[int, int, int, bytes]
"""Type, flags, stream, payload."""


class Wire:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self._written = b""

    def write(self, data: bytes) -> None:
        self._written += data

    def frames(self) -> list[Frame]:
        """Returns the frames written since the last call."""
        data = self._written.removeprefix(grpc_load.PREFACE)
        self._written = b""
        frames = []
        while data:
            high, low, kind, flags, stream = FRAME.unpack_from(data)
            end = FRAME.size + (high << 8 | low)
            frames.append((kind, flags, stream, data[FRAME.size : end]))
            data = data[end:]
        return frames

    def streams(self) -> list[int]:
        """Returns the streams that requests were sent on since the last call."""
        return [stream for kind, _, stream, _ in self.frames() if kind == grpc_load.DATA]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def tally() -> Tally:
    return Tally(seconds=60)


@pytest.fixture
def connection(wire: Wire, tally: Tally) -> GrpcConnection:
    connection = GrpcConnection(tally, cycle([(b"ann", BODY), (b"bob", BODY)]), streams=5)
    connection.connection_made(cast(asyncio.BaseTransport, wire))
    return connection


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return FRAME.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def trailers(stream: int, *headers: tuple[str, str]) -> bytes:
    block = hpack.Encoder().encode(headers)
    return frame(grpc_load.HEADERS, grpc_load.END_STREAM | grpc_load.END_HEADERS, stream, block)


@pytest.mark.usefixtures("connection")
def test_sends_calls_in_turn(wire: Wire) -> None:
    blocks = [payload for kind, _, _, payload in wire.frames() if kind == grpc_load.HEADERS]
    assert blocks == [b"ann", b"bob", b"ann"]


def test_sends_no_more_than_the_window(connection: GrpcConnection, wire: Wire) -> None:
    assert wire.streams() == [1, 3, 5]
    connection.data_received(frame(grpc_load.WINDOW_UPDATE, 0, 0, (20_000).to_bytes(4, "big")))
    assert wire.streams() == [7]


def test_acknowledges_settings_and_pings(connection: GrpcConnection, wire: Wire) -> None:
    wire.frames()
    connection.data_received(frame(grpc_load.SETTINGS, 0, 0, b"") + frame(grpc_load.PING, 0, 0, b"12345678"))
    assert wire.frames() == [
        (grpc_load.SETTINGS, grpc_load.ACK, 0, b""),
        (grpc_load.PING, grpc_load.ACK, 0, b"12345678"),
    ]


def test_counts_a_message_and_trailers_as_accepted(connection: GrpcConnection, wire: Wire, tally: Tally) -> None:
    wire.frames()
    answer = frame(grpc_load.DATA, 0, 1, b"message") + trailers(1, ("grpc-status", "0"))
    # In pieces, as the network delivers.
    for byte in answer:
        connection.data_received(bytes([byte]))
    assert tally.result().accepted == 1


def test_tells_why_a_call_failed(connection: GrpcConnection, tally: Tally) -> None:
    connection.data_received(trailers(1, (":status", "200"), ("grpc-status", "14"), ("grpc-message", "away")))
    connection.data_received(frame(grpc_load.RST_STREAM, 0, 3, (8).to_bytes(4, "big")))
    connection.connection_lost(None)
    assert tally.result().accepted == 0
    assert tally.result().failed == {"grpc-status 14: away": 1, "stream reset, code 8": 1, "connection lost: None": 1}


def test_starts_nothing_after_goaway(connection: GrpcConnection, wire: Wire, tally: Tally) -> None:
    wire.frames()
    connection.data_received(frame(grpc_load.GOAWAY, 0, 0, bytes(8)))
    for stream in (1, 3, 5):
        assert not connection.done.is_set()
        connection.data_received(frame(grpc_load.DATA, 0, stream, b"message") + trailers(stream, ("grpc-status", "0")))
    assert connection.done.is_set()
    assert wire.streams() == []
    assert (tally.result().accepted, tally.result().failed) == (3, {"the server is going away": 1})
