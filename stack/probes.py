"""Questions to a server: is it ready? Each is asked anew on its own connection and answers within its timeout.

`python -m stack.probes grpc PORT` or `… http PORT PATH` exits 0 when the answer is yes: health checks of containers.

They are written on plain sockets because the supervisor asks them, and a process that starts others should have
neither threads nor gRPC channels; it also keeps it small.
"""

import asyncio
import struct
import sys
from collections.abc import Awaitable, Callable

Probe = Callable[[], Awaitable[bool]]

TIMEOUT = 2.0  # seconds
# What it looks like when a server is away, silent, or talks nonsense.
NO_ANSWER = (OSError, TimeoutError, EOFError, ValueError, IndexError)


async def ask(probe: Probe) -> bool:
    """Runs a probe; a refused connection, nonsense or silence mean no."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await probe()
    except NO_ANSWER:
        return False


def http(port: int, path: str) -> Probe:
    """Ready when GET answers 200."""

    async def probe() -> bool:
        status, _ = await http_request("GET", port, path)
        return status == 200

    return probe


async def http_request(method: str, port: int, path: str) -> tuple[int, str]:
    """Sends a request without a body; returns status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        writer.write(head.encode())
        status = int((await reader.readline()).split()[1])
        headers: dict[bytes, bytes] = {}
        while (line := await reader.readline()).strip():
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        return status, (await _body(reader, headers)).decode(errors="replace")
    finally:
        writer.close()


async def _body(reader: asyncio.StreamReader, headers: dict[bytes, bytes]) -> bytes:
    # Not up to the end of the connection: Envoy takes a second to close it.
    if headers.get(b"transfer-encoding") != b"chunked":
        return await reader.readexactly(int(headers.get(b"content-length", 0)))
    chunks = b""
    while size := int(await reader.readline(), 16):
        chunks += await reader.readexactly(size)
        await reader.readline()
    return chunks


def edge(port: int, admin_port: int) -> Probe:
    """Ready when a request passes through to Users, every service has a healthy instance, and Envoy has the keys."""

    async def probe() -> bool:
        for path in ("/readyz", "/.well-known/jwks.json"):
            status, _ = await http_request("GET", port, path)
            if status != 200:
                return False
        _, stats = await http_request("GET", admin_port, "/stats?filter=jwt_authn.jwks_fetch_success")
        return any(not line.endswith(": 0") for line in stats.splitlines())

    return probe


def valkey(port: int, password: str) -> Probe:
    """Ready when PING answers PONG."""

    async def probe() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"AUTH {password}\r\nPING\r\n".encode())
            return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
        finally:
            writer.close()

    return probe


def postgres(url: str) -> Probe:
    """Ready when it can be written to: not while it recovers from a backup."""

    async def probe() -> bool:
        import asyncpg  # noqa: PLC0415 - slow to import, and `gozon --help` does without

        try:
            connection = await asyncpg.connect(url)
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        try:
            return bool(await connection.fetchval("SELECT NOT pg_is_in_recovery()"))
        finally:
            await connection.close()

    return probe


def grpc_health(port: int) -> Probe:
    """Ready when grpc.health.v1.Health/Check says SERVING for the whole server."""

    async def probe() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(_HEALTH_REQUEST)
            while True:
                length, kind, flags, stream = struct.unpack(">IBBI", b"\0" + await reader.readexactly(9))
                payload = await reader.readexactly(length)
                if kind == _DATA and stream == 1:
                    # A gRPC frame (flag, length), then HealthCheckResponse{status: SERVING}.
                    return payload[5:] == b"\x08\x01"
                if stream == 1 and flags & _END_STREAM:
                    return False
        finally:
            writer.close()

    return probe


_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame (RFC 9113 section 4.1)."""
    return struct.pack(">IBBI", len(payload), kind, flags, stream)[1:] + payload


def _header(name: bytes, value: bytes) -> bytes:
    """A header field that neither side need remember (RFC 7541 section 6.2.2); both shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


_HEALTH_REQUEST = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + _frame(_SETTINGS, 0, 0, b"")
    + _frame(
        _HEADERS,
        _END_HEADERS,
        1,
        _header(b":method", b"POST")
        + _header(b":scheme", b"http")
        + _header(b":path", b"/grpc.health.v1.Health/Check")
        + _header(b":authority", b"localhost")
        + _header(b"content-type", b"application/grpc")
        + _header(b"te", b"trailers"),
    )
    # An empty HealthCheckRequest: the whole server.
    + _frame(_DATA, _END_STREAM, 1, b"\0\0\0\0\0")
)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["grpc", port]:
            ready = asyncio.run(ask(grpc_health(int(port))))
        case ["http", port, path]:
            ready = asyncio.run(ask(http(int(port), path)))
        case _:
            raise SystemExit("usage: python -m stack.probes grpc PORT | http PORT PATH")
    raise SystemExit(0 if ready else 1)
