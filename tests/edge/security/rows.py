"""What is in the databases, row by row, to see that an attack changed nothing."""

import importlib
from collections.abc import Sequence

from kit.db import Database, sql
from stack.config import SERVICES
from tests.edge.security.rpcs import Owner
from tests.support import RunningStack

ON_THE_MOVE = ("outbox", "inbox", "attempts")
"""Tables that change by themselves, or with every wrong password."""


async def rows_about(stack: RunningStack, owner: Owner) -> set[str]:
    """Every row of every service that names a user or what is this user's, whatever its table."""
    return {row for row in await all_rows(stack) if any(name in row for name in owner.names)}


async def all_rows(stack: RunningStack, *, without: Sequence[str] = ON_THE_MOVE) -> set[str]:
    """Every row of every service, as text."""
    found = set()
    for service in SERVICES:
        tables = importlib.import_module(f"services.{service}.tables").metadata.tables
        database = Database(stack.database_urls[service])
        async with database.autocommit() as connection:
            for table in sorted(set(tables) - set(without)):
                rows = await connection.execute(sql(f"SELECT t::text AS row FROM {table} t"))
                found |= {f"{service}.{table}{row['row']}" for row in rows}
        await database.close()
    return found
