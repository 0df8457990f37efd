"""Alembic migrations of a service's database, safe to start from many instances at once and under load."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import asyncpg
from alembic import command, context, op
from alembic.config import Config
from sqlalchemy import Connection, MetaData, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

LOCK = 0x676F7A6F6E
"""Advisory lock: one migration at a time in a database; the others wait and then find nothing to do."""
LOCK_RETRY_SECONDS = 0.1
LOCK_TIMEOUT = "5s"
"""A migration that can't get a table lock in this time fails rather than stop the traffic that queues behind it."""


def upgrade(database_url: str, folder: Path) -> None:
    """Brings the database at postgresql://… to the newest revision in the service's `folder`/migrations."""
    command.upgrade(config(database_url, folder), "head")


def config(database_url: str, folder: Path) -> Config:
    """Returns Alembic's configuration for the service in `folder`."""
    result = Config()
    result.set_main_option("script_location", str(folder / "migrations"))
    result.attributes["url"] = database_url
    return result


def run(metadata: MetaData) -> None:
    """Runs what Alembic was asked to do; called by each service's migrations/env.py."""
    asyncio.run(_run(metadata, context.config.attributes["url"]))


async def _run(metadata: MetaData, url: str) -> None:
    # By the driver, as in kit/db.py: SQLAlchemy can't read a URL of several hosts.
    connect = partial(asyncpg.connect, url)
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate, metadata)
        await connection.commit()
    await engine.dispose()


def _migrate(connection: Connection, metadata: MetaData) -> None:
    # Asked for again and again: whoever builds an index concurrently waits for all who wait inside a transaction.
    while not connection.scalar(text(f"SELECT pg_try_advisory_lock({LOCK})")):
        connection.rollback()
        time.sleep(LOCK_RETRY_SECONDS)
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.commit()
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


@contextmanager
def outside_transaction() -> Iterator[None]:
    """Has a part of a migration run statement by statement, each as long as it takes, to build indexes concurrently.

    What came before is committed. Whoever dies in here runs the whole migration again.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        yield
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
