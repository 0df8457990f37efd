"""A WebSocket client that does what no library would."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN = 0x80


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """One frame as a client sends it (RFC 6455 section 5.2), masked with zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size) if size < 65536 else (
        b"\xff" + struct.pack(">Q", size)
    )  # fmt: skip
    return bytes([(FIN if fin else 0) | opcode]) + length + bytes(4) + payload


class Raw:
    """One connection, after its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yields the opcode and payload of each frame until the connection ends."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    [size] = struct.unpack(">H", await self.reader.readexactly(2))
                elif size == 127:
                    [size] = struct.unpack(">Q", await self.reader.readexactly(8))
                yield first & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        """Answers nothing, and returns the code of the close frame; 0 when the connection ended without one."""
        code = 0
        async for opcode, payload in self.frames():
            if opcode == CLOSE:
                [code] = struct.unpack(">H", payload[:2])
        return code

    async def flood(self, data: bytes) -> None:
        """Sends something again and again until the other side has had enough."""
        with suppress(ConnectionError):
            while not self.writer.is_closing():
                self.writer.write(data)
                await self.writer.drain()
                await asyncio.sleep(0)


@asynccontextmanager
async def raw_socket(url: str, token: str, receive_buffer: int = 0) -> AsyncIterator[Raw]:
    """Opens a socket at http://host:port; a slow reader has room for `receive_buffer` bytes in the kernel.

    Errors: ConnectionRefusedError.
    """
    address = urlsplit(url)
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (address.hostname, address.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=max(receive_buffer, 1024))
    writer.write(
        f"GET /ws HTTP/1.1\r\nhost: {address.netloc}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"sec-websocket-protocol: gozon.v1, bearer.{token}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 "):
        writer.transport.abort()
        raise ConnectionRefusedError(head)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
