"""Fixtures: a stack for each process of a run, started by the real `gozon up`; databases, users, clients."""

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from kit.db import Database
from stack.config import SERVICES
from stack.home import ADMIN_EMAIL
from tests import distant, secrets_in_logs
from tests.databases import EmptyDatabases
from tests.distant import DistantStack
from tests.support import (
    CHEAP_PASSWORDS,
    HOMES_VARIABLE,
    Edge,
    NatsServer,
    RunningStack,
    User,
    fresh_database,
    gozon,
    migrate,
    new_home,
)

RATE_LIMIT_SCALE = 1000
"""The whole suite comes from one address: limits meant for people must not end it."""
UP_SECONDS = 120

NewUser = Callable[[], Awaitable[User]]
NewDatabase = Callable[[str], Awaitable[Database]]


def pytest_configure() -> None:
    """Makes the folder for all stacks of the run, once: further processes inherit its name."""
    if HOMES_VARIABLE not in os.environ:
        os.environ[HOMES_VARIABLE] = tempfile.mkdtemp(prefix="gozon-test-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops what interrupted processes of the run left: xdist kills them after ten seconds, stacks may need more."""
    if hasattr(config, "workerinput"):
        return
    homes = Path(os.environ.pop(HOMES_VARIABLE))
    for lock in homes.glob("*/gozon.lock"):
        gozon("down", "--home", str(lock.parent), timeout=UP_SECONDS)
    shutil.rmtree(homes, ignore_errors=True)


class Shares(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """What the processes of a run get one after the other: a file, and tests/stack, which starts one more stack."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/stack" if _is_of_the_stack(nodeid) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Shares:
    """Shares are given out in the order of the tests."""
    config.option.loadscopereorder = False
    return Shares(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest share first, so that no process waits long for the last one."""
    items.sort(key=lambda item: not _is_of_the_stack(item.nodeid))


def _is_of_the_stack(nodeid: str) -> bool:
    return nodeid.startswith("tests/stack/")


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """The whole system on free ports, in a folder of its own; or one that runs, which is left running.

    GOZON_TEST_HOME names its folder; GOZON_TEST_EDGE the URL of its edge, when nothing else of it can be reached.
    """
    if given := os.environ.get("GOZON_TEST_HOME"):
        yield running(Path(given).absolute())
        return
    if distant.EDGE:
        yield DistantStack(distant.EDGE)
        return
    home = new_home()
    try:
        # Nobody processes orders, or asks for that again: what tests have just read must not change by itself.
        calm = ["--setting", "orders.processing_seconds=86400", "--instances", "worker-orders=0,push=2"]
        scale = ["--rate-limit-scale", str(RATE_LIMIT_SCALE)]
        up = gozon("up", "--home", str(home), "--free-ports", *scale, *calm, *CHEAP_PASSWORDS, timeout=UP_SECONDS)
        if up.returncode:
            pytest.exit(f"gozon up failed:\n{up.stdout}{up.stderr}", returncode=1)
        yield running(home)
        # After all the journeys: an error of whichever test was the last one.
        assert secrets_in_logs.found_in(home) == []
    finally:
        gozon("down", "--home", str(home), timeout=UP_SECONDS)
        shutil.rmtree(home, ignore_errors=True)


def running(home: Path) -> RunningStack:
    """Returns the stack that runs in a folder."""
    status = gozon("status", "--json", "--secrets", "--home", str(home), timeout=30)
    if status.returncode:
        pytest.exit(f"the stack in {home} is not ready:\n{status.stdout}{status.stderr}", returncode=1)
    return RunningStack.from_status(json.loads(status.stdout))


@pytest.fixture(scope="session")
async def edge(stack: RunningStack) -> AsyncIterator[Edge]:
    """Clients of the edge, over REST and gRPC."""
    async with Edge(stack) as clients:
        yield clients


@pytest.fixture(scope="session")
def new_user(edge: Edge) -> NewUser:
    """Makes a user with a token, by two requests: share the users of the fixtures below where you can."""
    return edge.register


@pytest.fixture(scope="session")
async def alice(new_user: NewUser) -> User:
    """A user without an account, for tests that change nothing or expect nothing of hers."""
    return await new_user()


@pytest.fixture(scope="session")
async def bob(new_user: NewUser) -> User:
    """Somebody else."""
    return await new_user()


@pytest.fixture(scope="session")
async def admin(edge: Edge, stack: RunningStack) -> User:
    """The first administrator; of a stack elsewhere, if GOZON_TEST_ADMIN says the password."""
    password = distant.ADMIN_PASSWORD or json.loads((stack.home / "secrets.json").read_text())["admin"]
    return await edge.sign_in(ADMIN_EMAIL, password)


@pytest.fixture(scope="session")
async def templates(stack: RunningStack) -> AsyncIterator[dict[str, str]]:
    """Migrated and empty databases by service, to be copied."""
    async with AsyncExitStack() as exits:
        names = {}
        for service in SERVICES:
            names[service] = await exits.enter_async_context(fresh_database(stack, service))
            migrate(stack.url_of(service, names[service]), service)
        yield names


@pytest.fixture(scope="session")
async def empty_databases(stack: RunningStack, templates: dict[str, str]) -> AsyncIterator[EmptyDatabases]:
    """Databases without rows, which tests use one after the other."""
    async with AsyncExitStack() as opened:
        yield EmptyDatabases(stack, templates, opened)


@pytest.fixture
async def new_database(stack: RunningStack, empty_databases: EmptyDatabases) -> AsyncIterator[NewDatabase]:
    """Makes an empty database with a service's tables, for one test."""
    async with AsyncExitStack() as exits:

        async def make(service: str) -> Database:
            name = await exits.enter_async_context(empty_databases.one(service))
            database = Database(stack.url_of(service, name))
            exits.push_async_callback(database.close)
            return database

        yield make


@pytest.fixture
async def payments_db(new_database: NewDatabase) -> Database:
    """An empty database of Payments."""
    return await new_database("payments")


@pytest.fixture
async def orders_db(new_database: NewDatabase) -> Database:
    """An empty database of Orders."""
    return await new_database("orders")


@pytest.fixture
async def users_db(new_database: NewDatabase) -> Database:
    """An empty database of Users."""
    return await new_database("users")


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A NATS server of the test's own, running."""
    server = NatsServer(tmp_path)
    await server.start()
    yield server
    server.kill()
