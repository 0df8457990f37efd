"""An Envoy of the tests' own with edge/envoy.yaml: limits as people get them, a key to sign with, no services."""

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from gozon.users.v1 import users_pb2
from kit import keys
from services.users.tokens import TokenIssuer
from stack import binaries, config, edge
from tests.support import eventually, free_port

IssuerOf = Callable[..., TokenIssuer]


@dataclass(frozen=True)
class LoneEdge:
    """An edge with none of the services behind it."""

    url: str
    target: str


@contextmanager
def lone_edge(folder: Path, users_port: int) -> Iterator[LoneEdge]:
    """Runs Envoy with edge/envoy.yaml on free ports; it expects Users on `users_port` and the others nowhere."""
    ports = {name: free_port() for name in config.DEFAULT_PORTS} | {"users": users_port}
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(edge.adapted(yaml.safe_load(edge.SOURCE.read_text()), config.Config(ports=ports))))
    options = [
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--file-flush-interval-msec",
        "50",
    ]
    command = [str(binaries.envoy()), "-c", str(file), *options]
    with (folder / "access.log").open("wb") as log, subprocess.Popen(command, stdout=log) as process:
        try:
            yield LoneEdge(f"http://127.0.0.1:{ports['edge']}", f"127.0.0.1:{ports['edge']}")
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def issuer_of(tmp_path_factory: pytest.TempPathFactory) -> IssuerOf:
    """Makes issuers of tokens that share one key, unless they are `foreign`."""
    folder = tmp_path_factory.mktemp("keys")

    def new_key(name: str) -> Path:
        (folder / name).mkdir()
        keys.add(folder / name, datetime.now(UTC))
        return folder / name

    ours, theirs = new_key("ours"), new_key("theirs")

    def issuer(*, lifetime: int = 60, foreign: bool = False) -> TokenIssuer:
        return TokenIssuer(theirs if foreign else ours, lifetime)

    return issuer


@pytest.fixture
async def without_services(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an edge that has no service and so no keys."""
    with lone_edge(tmp_path, free_port()) as lone:
        async with httpx.AsyncClient(base_url=lone.url) as client:
            await _answers(client)
            yield client


@pytest.fixture
async def keys_only(tmp_path: Path, issuer_of: IssuerOf) -> AsyncIterator[LoneEdge]:
    """An edge that can check tokens of `issuer_of`, and reach nothing else; its access log is tmp_path/access.log."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_users_with_keys(*issuer_of().jwks()),))
    servicer = health.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with lone_edge(tmp_path, port) as lone:
        async with httpx.AsyncClient(base_url=lone.url) as client:
            await _answers(client)
            junk = {"authorization": f"Bearer {issuer_of(foreign=True).issue('nobody', ())}"}

            async def has_keys() -> bool:
                return (await client.get("/users/me", headers=junk)).status_code == 401

            await eventually(has_keys)
        yield lone
    await server.stop(None)


def _users_with_keys(jwk: dict[str, str]) -> grpc.GenericRpcHandler:
    """Users, as far as the edge needs it to check tokens."""

    async def get_jwks(_request: users_pb2.GetJwksRequest, _context: object) -> users_pb2.Jwks:
        return users_pb2.Jwks(keys=[users_pb2.Jwk(**jwk)])

    handler = grpc.unary_unary_rpc_method_handler(
        get_jwks, users_pb2.GetJwksRequest.FromString, users_pb2.Jwks.SerializeToString
    )
    return grpc.method_handlers_generic_handler("gozon.users.v1.UsersService", {"GetJwks": handler})


async def _answers(client: httpx.AsyncClient) -> None:
    async def answers() -> bool:
        try:
            return (await client.get("/healthz")).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(answers)
