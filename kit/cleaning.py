"""Deletes what is old, in batches that keep nobody waiting."""

import asyncio
from typing import Any

from prometheus_client import Counter

from kit.db import Database, Statement, atomic

BATCH = 1_000
BATCH_PAUSE_SECONDS = 0.1
"""Between two batches, so that whatever there is to catch up with leaves room for the traffic."""

CLEANED = Counter("cleaned_rows_total", "Rows deleted because of their age", ["table"])


async def delete_all(database: Database, table: str, statement: Statement, **parameters: Any) -> int:
    """Runs a DELETE with a :limit that returns a row for each it has deleted, until it finds no more; returns how many.

    Each batch is committed by itself. Errors: Unavailable.
    """
    total = 0
    while True:
        deleted = await _delete(database, statement, **parameters, limit=BATCH)
        CLEANED.labels(table).inc(deleted)
        total += deleted
        if deleted < BATCH:
            return total
        await asyncio.sleep(BATCH_PAUSE_SECONDS)


@atomic
async def _delete(database: Database, statement: Statement, **parameters: Any) -> int:
    async with database.autocommit() as connection:
        return len(await connection.execute(statement, **parameters))
