"""The machine of PostgreSQL's primary dies; its synchronous standby is promoted, and the services find it."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import asyncpg

from stack import binaries, control, proc
from stack.config import FREE_PORTS, SYSTEM, Options, port_is_free
from stack.home import DEFAULT_HOME, Home, Stack
from stack.servers import initdb_command
from tests.bench.stack import RATE_LIMIT_SCALE
from tests.drills.load import QUICK_WORKERS, crowd, outcome

LOAD_SECONDS = 5.0
NOTICED_SECONDS = 1.0
"""What who watches the primary takes to be sure, at least."""
READY_SECONDS = 60.0

Running = AbstractContextManager[subprocess.Popen[bytes]]


async def postgres() -> list[str]:
    """Kills the primary under load, promotes the standby, and returns what is wrong."""
    DEFAULT_HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = Home(Path(tempfile.mkdtemp(prefix="drill-", dir=DEFAULT_HOME)))
    home.create()
    password = home.secrets().postgres
    ports = [port for port in FREE_PORTS if port_is_free(port)][:2]
    with ExitStack() as ends:
        ends.callback(shutil.rmtree, home.path, ignore_errors=True)
        primary = ends.enter_context(_primary(home, ports[0], password))
        url, other = (f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres" for port in ports)
        await _ask(url, "SELECT 1")
        ends.enter_context(_standby(home, ports[0], ports[1], password))
        # While it is there, nothing is committed that it has not got.
        await _ask(url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        await _ask(url, "SELECT pg_reload_conf()")
        ends.callback(control.down, home)
        options = Options(
            free_ports=True,
            instances={"orders": 2, "payments": 2, SYSTEM: 0},
            rate_limit_scale=RATE_LIMIT_SCALE,
            settings=QUICK_WORKERS,
            postgres=",".join(f"127.0.0.1:{port}" for port in ports),
        )
        await asyncio.to_thread(control.up, home, options, lambda _: None)
        stack = Stack.load(home)
        async with crowd(stack) as people:
            await asyncio.sleep(LOAD_SECONDS)
            if await _ask(url, "SELECT sync_state FROM pg_stat_replication") != "sync":
                return ["the standby is not synchronous"]
            died_at = time.monotonic()
            people.tell(f"SIGKILL to the primary and {_kill(primary.pid)} processes of it")
            await asyncio.sleep(NOTICED_SECONDS)
            await _ask(other, "SELECT pg_promote()")
            people.tell(f"the standby is promoted, {time.monotonic() - died_at:.2f} s after the death")
            accepted = len(people.accepted)
            while len(people.accepted) == accepted:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            people.tell(f"orders are accepted again, {time.monotonic() - died_at:.2f} s after the death")
            await asyncio.sleep(LOAD_SECONDS)
        return await outcome(stack, people, may_fail=True)


def _primary(home: Home, port: int, password: str) -> Running:
    data, file = home.path / "primary", home.path / "password"
    file.touch(mode=0o600)
    file.write_text(password)
    subprocess.run(initdb_command(data, file), check=True, stdout=subprocess.DEVNULL)
    return _server(home, data, port)


def _standby(home: Home, primary_port: int, port: int, password: str) -> Running:
    data = home.path / "standby"
    login = {"PGHOST": "127.0.0.1", "PGPORT": str(primary_port), "PGUSER": "postgres", "PGPASSWORD": password}
    # -R writes down where the primary is; the slot keeps there what the standby has not got yet.
    words = (f"--pgdata={data}", "-R", "--create-slot", "--slot=standby", "--checkpoint=fast")
    subprocess.run((binaries.postgres("pg_basebackup"), *words), check=True, env={**os.environ, **login})
    return _server(home, data, port)


@contextmanager
def _server(home: Home, data: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Runs PostgreSQL until the end of the block."""
    settings = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200")
    command = (
        *binaries.as_postgres_user(),
        *binaries.dying_with_parent("QUIT"),
        str(binaries.postgres("postgres")),
        *("-D", str(data)),
        *(word for setting in settings for word in ("-c", setting)),
    )
    with home.log(data.name).open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield server
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGQUIT)  # at once
        server.wait()


def _kill(pid: int) -> int:
    """Kills PostgreSQL and all its processes at one moment, like the machine they are on; returns how many those are.

    They would notice the death of the first one by themselves, but finish what they are about.
    """
    os.kill(pid, signal.SIGSTOP)  # it begins no other
    sessions = proc.children(pid)
    for each in (pid, *sessions):
        proc.send(each, signal.SIGKILL)
    return len(sessions)


async def _ask(url: str, statement: str) -> object:
    """Runs a statement on one of the servers, which may still be starting."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            connection = await asyncpg.connect(url)
            break
        except (OSError, asyncpg.PostgresError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
