"""Databases of tests that have the tables of a service and no rows: used by many tests, one after the other."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg

from tests.support import RunningStack, fresh_database


@dataclass(frozen=True)
class _Database:
    """A database, with a session of the superuser, which outlives its tests."""

    name: str
    session: "asyncpg.Connection[asyncpg.Record]"
    made_of: list[asyncpg.Record]


class EmptyDatabases:
    """Copies of the templates. One that was used is emptied, which takes a hundredth of the time of another copy."""

    def __init__(self, stack: RunningStack, templates: dict[str, str], opened: AsyncExitStack) -> None:
        self._stack, self._templates, self._opened = stack, templates, opened
        self._spare: dict[str, list[_Database]] = defaultdict(list)

    @asynccontextmanager
    async def one(self, service: str) -> AsyncIterator[str]:
        """Lends a database of a service; gives its name."""
        spare = self._spare[service]
        database = spare.pop() if spare else await self._copy(service)
        yield database.name
        if await self._emptied(database):
            spare.append(database)

    async def _copy(self, service: str) -> _Database:
        name = await self._opened.enter_async_context(fresh_database(self._stack, service, self._templates[service]))
        session = await asyncpg.connect(f"{self._stack.superuser_url.rpartition('/')[0]}/{name}")
        self._opened.push_async_callback(session.close)
        return _Database(name, session, await session.fetch(_MADE_OF))

    async def _emptied(self, database: _Database) -> bool:
        """Empties a database; False when the test has changed more than rows: such a one is not lent again."""
        await database.session.execute(_END_SESSIONS)
        if await database.session.fetch(_MADE_OF) != database.made_of:
            return False
        await database.session.execute(_DELETE_ROWS)
        return True


_END_SESSIONS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# Whoever changes a table, trigger, constraint, index or function writes a row there.
_CATALOGS = ("pg_class", "pg_attribute", "pg_constraint", "pg_index", "pg_proc", "pg_trigger")
_MADE_OF = " UNION ALL ".join(
    f"SELECT count(*) || ' ' || max(xmin::text::bigint) FROM {catalog}" for catalog in _CATALOGS
)
# No trigger fires, no foreign key is looked at: the ledger refuses to lose entries otherwise.
_DELETE_ROWS = """
    DO $$
    DECLARE thing regclass;
    BEGIN
        SET LOCAL session_replication_role = replica;
        FOR thing IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                     AND relname <> 'alembic_version' LOOP
            EXECUTE 'DELETE FROM ' || thing;
        END LOOP;
        FOR thing IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' LOOP
            PERFORM setval(thing, 1, false);
        END LOOP;
    END $$
"""
