"""Stands for the services behind an edge of a test's own, where a test needs answers that no service gives at will."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from gozon.users.v1 import users_pb2

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Answer = Callable[[bytes, Context], Awaitable[bytes]]


class StandIn(grpc.GenericRpcHandler):
    """Answers the methods in `answers`, by their names without the service's, and remembers what it was asked."""

    def __init__(self, *jwks: dict[str, str]) -> None:
        self.port = 0
        self.keys = list(jwks)
        self.answers: dict[str, Answer] = {"GetJwks": self._get_jwks}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Name of the method and metadata of each call, apart from GetJwks."""
        self.server = grpc.aio.server()
        self._health = health.HealthServicer()

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Finds who answers, as grpc asks."""
        name = details.method.rpartition("/")[2]
        if name not in self.answers:
            return None
        if name != "GetJwks":
            self.calls.append((name, dict(details.invocation_metadata or ())))
        return grpc.unary_unary_rpc_method_handler(self.answers[name])

    async def _get_jwks(self, _request: bytes, _context: Context) -> bytes:
        return users_pb2.Jwks(keys=[users_pb2.Jwk(**key) for key in self.keys]).SerializeToString()

    async def says_not_serving(self) -> None:
        """Makes the health service say so; calls are answered all the same."""
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)

    async def start(self) -> None:
        """Serves on a free port, or again on the one it had."""
        self.server = grpc.aio.server()
        self.server.add_generic_rpc_handlers((self,))
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()


@asynccontextmanager
async def standing_in(*jwks: dict[str, str]) -> AsyncIterator[StandIn]:
    """Runs a StandIn that publishes these keys."""
    one = StandIn(*jwks)
    await one.start()
    try:
        yield one
    finally:
        await one.server.stop(None)


class Cable:
    """Joins an edge and a stand-in until it is cut, which neither expects."""

    def __init__(self, to: int, mark: bytes = b"") -> None:
        self.port = 0
        self.marked = asyncio.Event()
        """Set when bytes with the mark in them have passed."""
        self._mark = mark
        self._to = to
        self._server: asyncio.Server | None = None
        self._ends: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """Ends all connections as the death of a process would, and takes no new ones."""
        assert self._server is not None
        self._server.close()
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.append(writer)
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        if writer.transport.is_closing():
            # It was cut meanwhile.
            back.transport.abort()
            return
        self._ends.append(back)
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
                if self._mark and self._mark in data:
                    self.marked.set()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def never(_request: bytes, _context: Context) -> bytes:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError


def says(message: bytes = b"", **headers: str) -> Answer:
    """Answers with a message and headers before it; an underscore in a name stands for a dash."""

    async def answer(_request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata(_metadata(headers))
        return message

    return answer


def refuses(code: grpc.StatusCode, message: str, **headers: str) -> Answer:
    """Answers with an error and headers; an underscore in a name stands for a dash."""

    async def answer(_request: bytes, context: Context) -> bytes:
        await context.abort(code, message, _metadata(headers))
        raise AssertionError

    return answer


def _metadata(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in headers.items())
