"""PostgreSQL: the engine, and `transaction()`, which is how everything is written."""

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ParamSpec, TypeVar

import asyncpg
import structlog
from sqlalchemy import CursorResult, Row, TextClause
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from kit.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 5
log = structlog.get_logger()


class Conflict(Exception):
    """The transaction was rolled back because of another one (deadlock, serialization); it may be tried again."""


class Transaction:
    """An open transaction: statements, and what is to happen once it is committed."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._after_commit: list[Callable[[], None]] = []

    async def execute(self, statement: TextClause, **parameters: Any) -> CursorResult[Any]:
        """Runs a statement with named parameters."""
        return await self._connection.execute(statement, parameters)

    async def one_or_none(self, statement: TextClause, **parameters: Any) -> Row[Any] | None:
        """Runs a statement that returns at most one row."""
        return (await self.execute(statement, **parameters)).one_or_none()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Registers a callback that runs after the commit, and not at all after a rollback."""
        self._after_commit.append(callback)

    def committed(self) -> None:
        """Runs the callbacks; called by Database.transaction."""
        for callback in self._after_commit:
            callback()


class Database:
    """One database of one service."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        """`url` is postgresql://role:password@host:port/database; at most `pool_size` connections are open."""
        self._engine = create_async_engine(
            url.replace("postgresql://", "postgresql+asyncpg://", 1),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            connect_args={
                "timeout": 5,
                "server_settings": {
                    # A generic plan made while a table was small walks the whole table once it is large.
                    "plan_cache_mode": "force_custom_plan",
                    # With the default of 4, meant for spinning disks, a batch walks through a whole table instead.
                    "random_page_cost": "1.1",
                    "statement_timeout": "9s",
                    "idle_in_transaction_session_timeout": "30s",
                    "jit": "off",
                },
            },
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Opens a transaction, committed at the end of the block and rolled back by any exception.

        Errors: Unavailable when the database can't be reached; Conflict, which @atomic repeats.
        """
        with _translated():
            async with self._engine.begin() as connection:
                transaction = Transaction(connection)
                yield transaction
        transaction.committed()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """Opens a connection for single SELECTs, each its own transaction: no BEGIN, no COMMIT. Errors: Unavailable."""
        with _translated():
            async with self._engine.connect() as connection:
                yield Transaction(await connection.execution_options(isolation_level="AUTOCOMMIT"))

    async def ping(self) -> None:
        """Returns when the database answers. Errors: Unavailable."""
        async with self.reading() as connection:
            await connection.execute(_PING)

    async def close(self) -> None:
        """Closes all connections."""
        await self._engine.dispose()


def atomic(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Makes a method that opens a transaction safe to cancel and repeats it, at most 5 times, on a Conflict.

    A client that leaves cancels its handler; in the middle of a COMMIT that would leak the connection and leave the
    outcome unknown. So the method runs as a task of its own, and to its end.
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


_PING = TextClause("SELECT 1")


@contextmanager
def _translated() -> Iterator[None]:
    """Turns the driver's errors into ours: what can be repeated, and what is the database's absence."""
    try:
        yield
    except DBAPIError as error:
        cause = getattr(error.orig, "__cause__", None)
        if isinstance(cause, asyncpg.DeadlockDetectedError | asyncpg.SerializationError):
            raise Conflict from error
        if error.connection_invalidated or isinstance(cause, _ABSENT):
            raise Unavailable from error
        raise
    except (OSError, PoolTimeout, *_ABSENT) as error:
        raise Unavailable from error


_ABSENT = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
)
