"""deploy/tls/Caddyfile in front of the edge: what people get over TLS, and whom Envoy takes them for."""

import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest

from gozon.users.v1.users_pb2 import TokenRequest
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from stack import binaries
from stack.config import SERVICES
from stack.home import CHECKOUT
from tests.edge.conftest import Issuer, LoneEdge, has_keys, lone_edge, ready
from tests.edge.expect import assert_error
from tests.edge.standin import says, standing_in
from tests.support import eventually, free_ports

CADDYFILE = CHECKOUT / "deploy" / "tls" / "Caddyfile"
SIGN_IN_BURST = 20


@dataclass
class Front:
    """Caddy for `localhost`, with a certificate of its own authority."""

    target: str
    root: Path
    edge: LoneEdge

    def client(self, address: str = "127.0.0.1") -> httpx.AsyncClient:
        """Returns a client that comes from an address."""
        trusting = ssl.create_default_context(cafile=str(self.root))
        transport = httpx.AsyncHTTPTransport(verify=trusting, local_address=address, retries=0)
        return httpx.AsyncClient(base_url=f"https://{self.target}", transport=transport)


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    with subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.fixture
async def front(issuer: Issuer, tmp_path: Path) -> AsyncIterator[Front]:
    port, http_port, health_port = free_ports(3)
    async with standing_in(issuer.jwk) as services:
        services.answers["Token"] = says()
        with lone_edge(tmp_path, dict.fromkeys(SERVICES, services.port), trusted_proxies=1) as lone:
            await has_keys(lone)
            await ready(lone)
            one = Front(f"localhost:{port}", tmp_path / "caddy/pki/authorities/local/root.crt", lone)
            environment = {
                "GOZON_DOMAIN": one.target,
                "GOZON_EDGE": lone.target,
                "GOZON_HTTP_PORT": str(http_port),
                "GOZON_HEALTH_PORT": str(health_port),
                "XDG_CONFIG_HOME": str(tmp_path),
                "XDG_DATA_HOME": str(tmp_path),
            }
            command = [str(binaries.caddy()), "run", "--adapter", "caddyfile", "--config", str(CADDYFILE)]
            with running(command, environment):
                await eventually(lambda: _answers(one))
                yield one


async def _answers(front: Front) -> bool:
    if not front.root.exists():
        return False
    async with front.client() as client:
        try:
            return (await client.get("/healthz")).status_code == 200
        except httpx.TransportError:
            return False


async def test_each_client_has_its_own_limit_whatever_it_says_it_is(front: Front) -> None:
    async with front.client() as client, front.client("127.0.0.2") as other:
        answers = [
            await client.post("/token", data={}, headers={"x-forwarded-for": f"192.0.2.{number}"})
            for number in range(SIGN_IN_BURST + 3)
        ]
        assert [answer.status_code for answer in answers[:SIGN_IN_BURST]] == [200] * SIGN_IN_BURST
        assert_error(answers[-1], 429, 8, "RATE_LIMITED")
        assert (await other.post("/token", data={})).status_code == 200


async def test_grpc_passes_and_while_the_edge_is_away_errors_look_the_same(front: Front) -> None:
    credentials = grpc.ssl_channel_credentials(front.root.read_bytes())
    async with grpc.aio.secure_channel(front.target, credentials) as channel, front.client() as client:
        stub = UsersServiceStub(channel)
        await stub.Token(TokenRequest())
        async with httpx.AsyncClient() as admin:
            await admin.post(f"{front.edge.admin_url}/quitquitquit")

        assert_error(await client.get("/users/me"), 503, 14, "UPSTREAM_UNAVAILABLE")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Token(TokenRequest())
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
