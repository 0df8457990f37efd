"""An Envoy of the tests' own with edge/envoy.yaml: limits as people get them, a key to sign with, no services."""

import base64
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from kit.auth import ALGORITHM, AUDIENCE, ISSUER
from stack import binaries, config, edge
from tests.edge.standin import StandIn, standing_in
from tests.support import eventually, free_ports, unique

Change = Callable[[dict[str, Any]], None]
"""Changes a parsed edge/envoy.yaml, such as a number that no test can wait for."""


class Issuer:
    """Somebody with a key who signs what is asked for."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        x, y = (
            base64.urlsafe_b64encode(one.to_bytes(32, "big")).rstrip(b"=").decode() for one in (numbers.x, numbers.y)
        )
        self.jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": unique("key"), "use": "sig", "alg": ALGORITHM}

    def issue(self, user_id: str, **claims: object) -> str:
        """Returns a token for a user, valid for a minute, with other claims where given; None leaves one out."""
        now = int(time.time())
        usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": user_id, "iat": now, "exp": now + 60, "jti": unique()}
        present = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode(present, self._key, ALGORITHM, headers={"kid": self.jwk["kid"]})

    def headers(self, user_id: str) -> dict[str, str]:
        """Returns what a REST request of a user carries."""
        return {"authorization": f"Bearer {self.issue(user_id)}"}


@dataclass(frozen=True)
class LoneEdge:
    """An edge with none of our services behind it."""

    url: str
    target: str
    admin_url: str


@cache
def source() -> dict[str, Any]:
    """Returns the parsed edge/envoy.yaml; nobody changes it."""
    parsed: dict[str, Any] = yaml.load(edge.SOURCE.read_text(), Loader=yaml.CSafeLoader)
    return parsed


def manager(edge: dict[str, Any]) -> dict[str, Any]:
    """Returns the connection manager of the public listener in a parsed edge/envoy.yaml."""
    public = next(one for one in edge["static_resources"]["listeners"] if one["name"] == "public")
    found: dict[str, Any] = public["filter_chains"][0]["filters"][0]["typed_config"]
    return found


@contextmanager
def lone_edge(
    folder: Path,
    ports: Mapping[str, int],
    instances: Mapping[str, int] | None = None,
    change: Change = lambda _: None,
    **settings: Any,
) -> Iterator[LoneEdge]:
    """Runs Envoy with edge/envoy.yaml on free ports; it expects services on `ports`, those not named nowhere.

    `settings` are others of stack.config.Config.
    """
    all_ports = {**dict(zip(config.DEFAULT_PORTS, free_ports(len(config.DEFAULT_PORTS)), strict=True)), **ports}
    counts = {**dict.fromkeys((*config.SCALED, config.NATS), 1), **(instances or {})}
    adapted = edge.adapted(source(), config.Config(ports=all_ports, instances=counts, **settings))
    change(adapted)
    file = folder / "envoy.yaml"
    file.write_text(json.dumps(adapted))
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
            target, admin = (f"127.0.0.1:{all_ports[name]}" for name in ("edge", "envoy-admin"))
            yield LoneEdge(f"http://{target}", target, f"http://{admin}")
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """Whose tokens the edges of the tests accept."""
    return Issuer()


@pytest.fixture(scope="session")
def stranger() -> Issuer:
    """Whose tokens they don't."""
    return Issuer()


@pytest.fixture
async def without_services(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an edge that has no service and so no keys."""
    with lone_edge(tmp_path, {}) as lone:
        async with httpx.AsyncClient(base_url=lone.url) as client:
            await _answers(client)
            yield client


@pytest.fixture
async def keys_only(tmp_path: Path, issuer: Issuer) -> AsyncIterator[LoneEdge]:
    """An edge that can check tokens of `issuer`, and reach nothing else; its access log is tmp_path/access.log."""
    async with edge_with_keys(issuer, tmp_path) as lone:
        yield lone


@asynccontextmanager
async def edge_with_keys(issuer: Issuer, folder: Path, change: Change = lambda _: None) -> AsyncIterator[LoneEdge]:
    """Runs an edge that can check tokens of `issuer`, and reach nothing else."""
    async with standing_in(issuer.jwk) as users:
        with lone_edge(folder, {"users": users.port}, change=change) as lone:
            await has_keys(lone)
            yield lone


@asynccontextmanager
async def edge_before(port: int, folder: Path, change: Change = lambda _: None) -> AsyncIterator[LoneEdge]:
    """Runs an edge with the stand-in on a port as all services."""
    with lone_edge(folder, dict.fromkeys(config.SERVICES, port), change=change) as lone:
        await has_keys(lone)
        await ready(lone)
        yield lone


@pytest.fixture
async def standin(issuer: Issuer) -> AsyncIterator[StandIn]:
    """What stands for all services behind `before_standin`."""
    async with standing_in(issuer.jwk) as one:
        yield one


@pytest.fixture
async def before_standin(standin: StandIn, tmp_path: Path) -> AsyncIterator[LoneEdge]:
    """An edge with `standin` as all services."""
    async with edge_before(standin.port, tmp_path) as lone:
        yield lone


@pytest.fixture
async def rest(before_standin: LoneEdge) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `before_standin`."""
    async with httpx.AsyncClient(base_url=before_standin.url) as client:
        yield client


async def has_keys(lone: LoneEdge) -> None:
    """Waits until the edge has fetched keys: before, it can't say that a token is bad."""
    async with httpx.AsyncClient(base_url=lone.url) as client:
        await _answers(client)
        junk = Issuer().headers("nobody")

        async def refuses_junk() -> bool:
            return (await client.get("/users/me", headers=junk)).status_code == 401

        await eventually(refuses_junk)


async def ready(lone: LoneEdge) -> None:
    """Waits until the edge has found all services."""
    async with httpx.AsyncClient(base_url=lone.url) as client:

        async def all_healthy() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(all_healthy)


async def _answers(client: httpx.AsyncClient) -> None:
    async def answers() -> bool:
        try:
            return (await client.get("/healthz")).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(answers)
