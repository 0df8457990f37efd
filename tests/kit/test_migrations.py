"""kit.migrations and each service's migrations, on a real PostgreSQL."""

import asyncio
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, MetaData, Table, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from kit import migrations
from stack.config import SERVICES
from tests.support import SERVICES_FOLDER, RunningStack, fresh_database, migrate


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def url(service: str, stack: RunningStack) -> AsyncIterator[str]:
    """URL of an empty database of the service."""
    async with fresh_database(stack, service) as name:
        yield stack.url_of(service, name)


def tables_of(service: str) -> MetaData:
    metadata: MetaData = import_module(f"services.{service}.tables").metadata
    return metadata


def newest_of(service: str, url: str) -> str:
    head = ScriptDirectory.from_config(migrations.config(url, SERVICES_FOLDER / service)).get_current_head()
    assert head
    return head


async def revision_of(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SELECT string_agg(version_num, ' ') FROM alembic_version"))
    finally:
        await connection.close()


def differences(connection: Connection, metadata: MetaData) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    found: list[Any] = list(compare_metadata(context, metadata))
    # What Alembic does not compare: CHECK constraints and the conditions of partial indexes.
    inspector = inspect(connection)
    for table in metadata.sorted_tables:
        migrated = {c["name"] for c in inspector.get_check_constraints(table.name)}
        found += [f"{table.name}: {name}" for name in migrated ^ checks_of(table)]
        conditions = {i["name"]: _condition(i) for i in inspector.get_indexes(table.name)}
        for index in table.indexes:
            where = index.dialect_options["postgresql"]["where"]
            declared = "" if where is None else str(where)
            if conditions.get(str(index.name)) != declared:
                found.append(f"{index.name}: {conditions.get(str(index.name))} is not {declared}")
    return found


def checks_of(table: Table) -> set[str]:
    return {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)}


def _condition(index: Any) -> str:
    where = str(index.get("dialect_options", {}).get("postgresql_where", ""))
    return where[1:-1] if where.startswith("(") else where


# SQLAlchemy stumbles over a CHECK that is NOT VALID, as one of the ledger is.
@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'")
async def test_the_tables_in_code_are_those_that_the_migrations_make(service: str, url: str) -> None:
    migrate(url, service)
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences, tables_of(service)) == []
    await engine.dispose()


async def test_migrating_again_changes_nothing(service: str, url: str) -> None:
    migrate(url, service)
    migrate(url, service)
    assert await revision_of(url) == newest_of(service, url)


async def test_instances_that_start_at_once_migrate_once(service: str, url: str, stack: RunningStack) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GOZON_")} | {
        "GOZON_DATABASE_URL": url,
        **({"GOZON_SIGNING_KEYS": str(stack.home / "keys")} if service == "users" else {}),
        **({"GOZON_NATS_URL": stack.nats_url, "GOZON_USERS_TARGET": "127.0.0.1:1"} if service != "users" else {}),
        **({"GOZON_REDIS_URL": stack.redis_url} if service != "users" else {}),
        **({"GOZON_PAYOUT_KEYS": b64encode(bytes(32)).decode()} if service == "payments" else {}),
    }
    instances = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"services.{service}", "migrate"),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for instance in instances:
        _, errors = await instance.communicate()
        assert instance.returncode == 0, errors.decode()
    assert await revision_of(url) == newest_of(service, url)


async def test_a_migration_that_cannot_lock_a_table_fails_and_leaves_nothing(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.migrations.LOCK_TIMEOUT", "50ms")
    async with fresh_database(stack, "users") as name:
        url = stack.url_of("users", name)
        busy = await asyncpg.connect(url)
        await busy.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        transaction = busy.transaction()
        await transaction.start()
        await busy.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DBAPIError, match="lock timeout"):
            migrate(url, "users")
        await transaction.rollback()
        assert await busy.fetchval("SELECT to_regclass('users')") is None
        await busy.close()
        migrate(url, "users")
