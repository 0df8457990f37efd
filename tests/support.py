"""What tests share: the running stack, clients of its edge, databases and servers of their own, and patience."""

import asyncio
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import asyncpg
import grpc
import httpx
import jwt
import pytest
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy import MetaData

import services
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from gozon.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from gozon.payouts.v1.payouts_pb2_grpc import PayoutsServiceStub
from gozon.shop.v1.shop_pb2_grpc import ShopServiceStub
from gozon.system.v1.system_pb2_grpc import SystemServiceStub
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from kit import migrations
from kit.bus import Bus
from kit.db import Connection, Database, Statement, sql
from kit.events import Event
from services.topology import BALANCE_CHANGED
from stack import binaries, config

T = TypeVar("T")

PATIENCE_SECONDS = 30.0
"""How long a condition may take to come true before its test fails."""
CHEAP_PASSWORDS = ("--setting", "users.password_hash_kib=1024")
"""For `gozon up`: hashing the passwords of test users would take a fifth of all the time."""
HOMES_VARIABLE = "HOMES_OF_TEST_RUN"
"""Environment variable with the folder of all stacks of this test run."""
SERVICES_FOLDER = Path(next(iter(services.__path__)))


def _ports_of_this_process() -> range:
    """Each process of a test run has ports of its own: what one has chosen and not taken yet, no other chooses."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    size = len(config.FREE_PORTS) // count
    return config.FREE_PORTS[number % count * size :][:size]


FREE_PORTS = _ports_of_this_process()


async def eventually(condition: Callable[[], Awaitable[T]], within: float = PATIENCE_SECONDS) -> T:
    """Asks again and again until the answer is true, and returns it; fails the test after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = await condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not so after {within} s: {condition} says {answer!r}")
        await asyncio.sleep(0.02)


def gozon(*arguments: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user does, with nothing preset but which ports are ours; fails after `timeout` seconds."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GOZON_")}
    env["GOZON_FREE_RANGE"] = f"{FREE_PORTS[0]}-{FREE_PORTS[-1]}"
    command = [str(Path(sys.executable).with_name("gozon")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=env)


def new_home() -> Path:
    """Returns a folder for a stack, which is not there yet; what still runs there when the test run ends is stopped."""
    return Path(os.environ[HOMES_VARIABLE]) / unique()


def unique(prefix: str = "t") -> str:
    """Returns a name that nobody else uses, fit for databases, streams and subjects."""
    return f"{prefix}_{uuid.uuid4().hex[:16]}"


@dataclass(frozen=True)
class RunningStack:
    """Addresses of the stack that this test run uses."""

    home: Path
    edge_url: str
    edge_target: str
    targets: dict[str, str]
    """gRPC target (host:port) of each service, past the edge."""
    database_urls: dict[str, str]
    """URL of each service's database, as the service's role."""
    superuser_url: str
    nats_url: str
    redis_url: str
    provider_url: str
    metrics_urls: dict[str, str]

    @classmethod
    def from_status(cls, status: dict[str, Any]) -> Self:
        """Reads what `gozon status --json --secrets` prints."""
        ports, urls = status["config"]["ports"], status["urls"]
        names = (*config.SERVICES, config.SYSTEM)
        return cls(
            home=Path(status["home"]),
            edge_url=urls["edge"],
            edge_target=f"127.0.0.1:{ports['edge']}",
            targets={name: f"127.0.0.1:{ports[name]}" for name in names},
            database_urls={name: urls[f"{name}_database"] for name in config.SERVICES},
            superuser_url=urls["postgres"],
            nats_url=urls["nats"],
            redis_url=urls["redis"],
            provider_url=f"http://127.0.0.1:{ports['provider']}",
            metrics_urls={
                name: f"http://127.0.0.1:{ports[f'{name}-metrics']}/metrics" for name in (*names, "dispatcher")
            },
        )

    def url_of(self, service: str, database: str) -> str:
        """Returns the URL of another database on the same server, as the service's role."""
        return f"{self.database_urls[service].rpartition('/')[0]}/{database}"

    def channel(self) -> grpc.aio.Channel:
        """Returns a channel to the edge."""
        return grpc.aio.insecure_channel(self.edge_target)


@dataclass(frozen=True)
class User:
    """Somebody who registered through the edge, with an access token."""

    id: str
    email: str
    password: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a REST request by this user."""
        return {"authorization": f"Bearer {self.token}"}

    def metadata(self, key: str = "") -> tuple[tuple[str, str], ...]:
        """Metadata of a gRPC call by this user, with an idempotency key if one is given."""
        return (("authorization", f"Bearer {self.token}"), *((("idempotency-key", key),) if key else ()))


class Edge:
    """The public address, over REST and gRPC."""

    def __init__(self, stack: RunningStack) -> None:
        self.rest = httpx.AsyncClient(base_url=stack.edge_url, timeout=30)
        self.channel = stack.channel()
        self.users = UsersServiceStub(self.channel)
        self.orders = OrdersServiceStub(self.channel)
        self.payments = PaymentsServiceStub(self.channel)
        self.payouts = PayoutsServiceStub(self.channel)
        self.shop = ShopServiceStub(self.channel)
        self.system = SystemServiceStub(self.channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.rest.aclose()
        await self.channel.close()

    async def register(self) -> User:
        """Registers somebody new and signs in."""
        email, password = f"{uuid.uuid4().hex}@example.com", "correct horse battery staple"
        registered = await self.rest.post("/register", json={"email": email, "password": password})
        assert registered.status_code == 201, registered.text
        return await self.sign_in(email, password)

    async def sign_in(self, email: str, password: str) -> User:
        """Signs somebody in who is registered."""
        form = {"grant_type": "password", "username": email, "password": password}
        signed_in = await self.rest.post("/token", data=form)
        assert signed_in.status_code == 200, signed_in.text
        token: str = signed_in.json()["access_token"]
        # The token is ours, fresh from the service: what it says needs no proof.
        return User(jwt.decode(token, options={"verify_signature": False})["sub"], email, password, token)

    async def deposit(self, user: User, amount: int) -> None:
        """Gives a user an account, if there is none, and money."""
        opened = await self.rest.post(f"/accounts/{user.id}", json={}, headers=user.headers)
        assert opened.status_code in (201, 409), opened.text
        deposited = await self.rest.post(
            f"/accounts/{user.id}/deposit",
            json={"amount": amount},
            headers={**user.headers, "idempotency-key": uuid.uuid4().hex},
        )
        assert deposited.status_code == 200, deposited.text

    async def settled(self, user: User, order_id: str) -> dict[str, Any]:
        """Waits until an order is no longer PENDING and returns it."""
        return await self._order_when(lambda order: order["status"] != "PENDING", user, order_id)

    async def processed(self, user: User, order_id: str) -> dict[str, Any]:
        """Waits until a worker has processed an order and returns it."""
        return await self._order_when(lambda order: bool(order.get("processed_at")), user, order_id)

    async def becomes(self, user: User, order_id: str, **wanted: str) -> dict[str, Any]:
        """Waits until an order has these values and returns it."""
        return await self._order_when(lambda order: wanted.items() <= order.items(), user, order_id)

    async def _order_when(
        self, condition: Callable[[dict[str, Any]], bool], user: User, order_id: str
    ) -> dict[str, Any]:
        order: dict[str, Any] = {}

        async def is_so() -> bool:
            nonlocal order
            answer = await self.rest.get(f"/orders/{order_id}", headers=user.headers)
            assert answer.status_code == 200, answer.text
            order = answer.json()
            return condition(order)

        await eventually(is_so)
        return order


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Returns the reason of the ErrorInfo that came with a gRPC error."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode())
            info = error_details_pb2.ErrorInfo()
            # Else clients (grpcio-status) refuse to read it.
            assert (status.code, status.message) == (error.code().value[0], error.details())
            if any(detail.Unpack(info) for detail in status.details):
                assert info.domain == "gozon"
                return str(info.reason)
    return ""


@contextmanager
def refused(code: grpc.StatusCode, reason: str) -> Iterator[None]:
    """Expects a gRPC call in the block to be refused in just this way."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert (caught.value.code(), reason_of(caught.value)) == (code, reason), caught.value.details()


def in_thread(function: Callable[[], None]) -> None:
    """Runs what needs an event loop of its own, such as a migration, and raises what it raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


@asynccontextmanager
async def fresh_database(stack: RunningStack, service: str, template: str = "") -> AsyncIterator[str]:
    """Creates a database for a test and drops it afterwards; gives its name.

    Without a template it is empty; with one it is a copy, which is faster than migrating it.
    """
    name = unique(service)
    copied = f"TEMPLATE {template}" if template else ""
    server = await asyncpg.connect(stack.superuser_url)
    try:
        await server.execute(f"CREATE DATABASE {name} OWNER {service} {copied}")
        yield name
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


def migrate(database_url: str, service: str) -> None:
    """Brings a database to the newest revision of a service's migrations."""
    in_thread(lambda: migrations.upgrade(database_url, SERVICES_FOLDER / service))


async def fingerprint(database: Database, metadata: MetaData, *, without: Sequence[str]) -> str:
    """Returns a hash over every row of every table of a service, apart from the tables in `without`."""
    digest = hashlib.sha256()
    async with database.autocommit() as connection:
        for table in sorted(set(metadata.tables) - set(without)):
            rows = await connection.execute(sql(f"SELECT t::text FROM {table} t ORDER BY 1"))
            digest.update(table.encode() + b"\0" + "\n".join(row[0] for row in rows).encode())
    return digest.hexdigest()


async def count(database: Database, table: str) -> int:
    """Returns how many rows a table has."""
    async with database.autocommit() as connection:
        row = await connection.one_or_none(sql(f"SELECT count(*) AS rows FROM {table}"))
    return int(row["rows"]) if row else 0


async def outbox_of(database: Database, *, balances: bool = False) -> list[Event]:
    """Returns what waits in an outbox, oldest first; those events that tell of balances alone only if asked for."""
    async with database.autocommit() as connection:
        rows = await connection.execute(sql("SELECT id, subject, payload, traceparent FROM outbox ORDER BY id"))
    events = [Event(str(row["id"]), row["subject"], row["payload"], row["traceparent"]) for row in rows]
    return [event for event in events if balances or event.subject != BALANCE_CHANGED]


async def scanned_whole(connection: Connection, statement: Statement, **parameters: Any) -> set[str]:
    """Returns the tables that the plan of a statement walks through from end to end; nothing is executed."""
    plan = await _plan(connection, statement, parameters)
    return {node["Relation Name"] for node in plan if node["Node Type"] in ("Seq Scan", "Parallel Seq Scan")}


async def indexes_used(connection: Connection, statement: Statement, **parameters: Any) -> set[str]:
    """Returns the indexes that the plan of a statement uses; nothing is executed."""
    plan = await _plan(connection, statement, parameters)
    return {node["Index Name"] for node in plan if "Index Name" in node}


async def _plan(connection: Connection, statement: Statement, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    explain = Statement(f"EXPLAIN (FORMAT JSON) {statement.text}", statement.names)
    [row] = await connection.execute(explain, **parameters)
    return list(_nodes(json.loads(row["QUERY PLAN"])[0]["Plan"]))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def disconnected_bus() -> Bus:
    """Returns a bus that was never connected: an outbox on it keeps its rows, where a test can read them."""
    return Bus("nats://127.0.0.1:1", (), ())


def free_ports(count: int) -> list[int]:
    """Returns ports that nobody listens on now; at random, so that test runs at the same time keep apart."""
    candidates = (port for port in random.sample(FREE_PORTS, len(FREE_PORTS)) if config.port_is_free(port))
    return list(islice(candidates, count))


def free_port() -> int:
    """Returns one such port."""
    return free_ports(1)[0]


class NatsServer:
    """A NATS server of a test's own, to be killed, emptied and started again."""

    def __init__(self, folder: Path) -> None:
        self._storage = folder / "nats"
        self._port = free_port()
        self.url = f"nats://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts the server and waits until it listens."""
        self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond, and nobody else is waiting
            [
                *binaries.dying_with_parent("KILL"),
                str(binaries.nats_server()),
                *("-a", "127.0.0.1", "-p", str(self._port), "-js", "-sd", str(self._storage)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        async def listens() -> bool:
            return not config.port_is_free(self._port)

        await eventually(listens)

    def kill(self) -> None:
        """Ends the server as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wipe(self) -> None:
        """Removes everything the server stored."""
        shutil.rmtree(self._storage)
