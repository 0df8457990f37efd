"""Reading a whole database as it is at one moment, beside whoever writes: for audits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

CONNECT_SECONDS = 5.0

AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What reading a snapshot raises when the database can't be reached or can't work."""

Snapshot: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@asynccontextmanager
async def snapshot(url: str) -> AsyncIterator[Snapshot]:
    """Opens a connection on which all is as it is now, and nothing can be written. Errors: AWAY."""
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # What it reads, it reads whole: sorting in memory is faster, and compiling is not worth it.
            await connection.execute("SET LOCAL work_mem = '128MB'; SET LOCAL jit = off")
            await connection.execute("SELECT 1")  # the snapshot is taken by the first query
            yield connection
    finally:
        await connection.close()
