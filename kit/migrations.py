"""Alembic migrations of a service's database, safe to start from many instances at once and under load."""

import asyncio
from functools import partial
from pathlib import Path

import asyncpg
from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, MetaData, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

LOCK = 0x676F7A6F6E
"""Advisory lock: one migration at a time in a database; the others wait and then find nothing to do."""
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
    connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    context.run_migrations()
