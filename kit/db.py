"""PostgreSQL: the connections, and `transaction()`, which is how everything is written.

Statements go to asyncpg directly. They are few, set-based and plain SQL, and SQLAlchemy's part of executing one was the
largest single cost of an order; it describes the tables (tables.py) and migrates them.
"""

import asyncio
import functools
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import asyncpg
import structlog

from kit.errors import DeadlineExceeded, Unavailable

P = ParamSpec("P")
T = TypeVar("T")
Row = asyncpg.Record

ATTEMPTS = 5
ACQUIRE_SECONDS = 10.0
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 10.0
POOL_SIZE = 10
CLOSE_SECONDS = 5.0

log = structlog.get_logger()


class Conflict(Exception):
    """The transaction was rolled back because of another one (deadlock, serialization); it may be tried again."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL as PostgreSQL takes it ($1, $2, …) and the names of its parameters, in that order."""

    text: str
    names: tuple[str, ...]


def sql(text: str) -> Statement:
    """Reads a statement with parameters by name, `:name`; a cast is written `:name::type`."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
    return Statement(_PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", text), names)


class Connection:
    """A connection on which each statement is a transaction of its own."""

    def __init__(self, connection: "asyncpg.pool.PoolConnectionProxy[Row]") -> None:
        self._connection = connection

    async def execute(self, statement: Statement, **parameters: Any) -> list[Row]:
        """Runs a statement and returns its rows, none for one that returns nothing."""
        return await self._connection.fetch(statement.text, *[parameters[name] for name in statement.names])

    async def one_or_none(self, statement: Statement, **parameters: Any) -> Row | None:
        """Runs a statement that returns at most one row."""
        rows = await self.execute(statement, **parameters)
        return rows[0] if rows else None


class Transaction(Connection):
    """An open transaction: statements, and what is to happen once it is committed."""

    def __init__(self, connection: "asyncpg.pool.PoolConnectionProxy[Row]") -> None:
        super().__init__(connection)
        self._after_commit: list[Callable[[], None]] = []

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Registers a callback that runs after the commit, and not at all after a rollback."""
        self._after_commit.append(callback)

    def committed(self) -> None:
        """Runs the callbacks; called by Database.transaction."""
        for callback in self._after_commit:
            callback()


class Database:
    """One database of one service."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE) -> None:
        """`url` is postgresql://role:password@host:port/database; at most `pool_size` connections are open.

        With several, host:port,host:port, and ?target_session_attrs=primary, that of them is used which is the primary.
        """
        self._url = url
        where = urlsplit(url).netloc.rpartition("@")[2]
        self._urls = [url.replace(where, host, 1) for host in where.split(",")] if "," in where else [url]
        self._pool_size = pool_size
        self._pool: asyncpg.Pool[Row] | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Opens a transaction, committed at the end of the block and rolled back by any exception.

        Errors: Unavailable when the database can't be reached or can't work; DeadlineExceeded when a statement or
        the wait for a lock took too long; Conflict, which @atomic repeats.
        """
        with _translated():
            async with self._acquire() as connection, connection.transaction():
                transaction = Transaction(connection)
                yield transaction
        transaction.committed()

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Connection]:
        """Opens a connection for single statements: no BEGIN, no COMMIT. Errors: Unavailable."""
        with _translated():
            async with self._acquire() as connection:
                yield Connection(connection)

    async def ping(self) -> None:
        """Returns when the database answers. Errors: Unavailable."""
        async with self.autocommit() as connection:
            await connection.execute(_PING)

    async def close(self) -> None:
        """Closes all connections."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def _acquire(self) -> "AsyncIterator[asyncpg.pool.PoolConnectionProxy[Row]]":
        if self._pool is None:
            async with self._opening:
                if self._pool is None:
                    self._pool = await self._open()
        async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
            try:
                yield connection
            except asyncpg.InternalClientError:
                # The server ended the session while it was idle, and asyncpg has not read that yet.
                connection.terminate()
                raise

    async def _open(self) -> "asyncpg.Pool[Row]":
        pool: asyncpg.Pool[Row] = await asyncpg.create_pool(
            self._url,
            connect=self._connect,
            min_size=0,
            max_size=self._pool_size,
            # The server's own time-out does not help when the way to it is dead.
            command_timeout=COMMAND_SECONDS,
            # A round trip each time for what no statement here leaves behind: session settings, locks, cursors.
            reset=_no_reset,
            server_settings={
                # A generic plan made while a table was small walks the whole table once it is large.
                "plan_cache_mode": "force_custom_plan",
                # With the default of 4, meant for spinning disks, a batch walks through a whole table instead.
                "random_page_cost": "1.1",
                "statement_timeout": "9s",
                "lock_timeout": "3s",
                "idle_in_transaction_session_timeout": "30s",
                "jit": "off",
            },
        )
        return pool

    async def _connect(self, *_: Any, **options: Any) -> "asyncpg.Connection[Row]":
        """Connects to that of the hosts which will do, the one of last time first.

        The driver would spend all the time on the first one when that machine is gone without a word.
        """
        for url in list(self._urls):
            try:
                seconds = CONNECT_SECONDS / len(self._urls)
                connection: asyncpg.Connection[Row] = await asyncpg.connect(url, timeout=seconds, **options)
            except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError) as error:
                failure: Exception = error
            else:
                self._urls.sort(key=lambda other: other != url)
                return connection
        raise failure


def atomic(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Makes a method that opens a transaction safe to cancel and repeats it, at most 5 times, on a Conflict.

    A client that leaves cancels its handler; in the middle of a COMMIT that would leave the outcome unknown. So the
    method runs as a task of its own, and to its end.
    """

    async def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await method(*args, **kwargs)
            except Conflict:
                log.warning("transaction_conflict", method=method.__qualname__, attempt=attempt)
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))
        raise Unavailable

    @functools.wraps(method)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.shield(asyncio.create_task(repeated(*args, **kwargs)))

    return wrapper


_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
_PING = sql("SELECT 1")


async def _no_reset(_connection: "asyncpg.Connection[Row]") -> None:
    pass


@contextmanager
def _translated() -> Iterator[None]:
    """Turns the driver's errors into ours: what can be repeated, and what is the database's absence."""
    try:
        yield
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        if state.startswith(_CONFLICT) or isinstance(error, asyncpg.InvalidCachedStatementError):
            raise Conflict from error
        if state in _TOO_SLOW:
            raise DeadlineExceeded from error
        if state.startswith(_ABSENT):
            raise Unavailable from error
        raise
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise Unavailable from error


# Classes and codes of https://www.postgresql.org/docs/current/errcodes-appendix.html
_CONFLICT = ("40",)
_TOO_SLOW = ("57014", "55P03")
"""A statement that took too long, or waited too long for a lock."""
_ABSENT = ("08", "53", "57", "58", "25006", "25P03")
"""No connection, no resources, shutting down, input/output errors, read-only (a standby), idle too long."""
