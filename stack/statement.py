"""`gozon statement`: what happened to the money of one account, as CSV."""

import csv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TextIO, TypeAlias
from uuid import UUID

import asyncpg

from kit.snapshot import AWAY
from stack.home import HomeError, Stack

COLUMNS = (
    "number",
    "time",
    "kind",
    "order_id",
    "payout_id",
    "purchase_id",
    "amount",
    "held_amount",
    "balance",
    "held",
    "currency",
    "hash",
)
BLOCK_ROWS = 5000

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def write(stack: Stack, who: str, since: datetime | None, until: datetime | None, file: TextIO) -> int:
    """Writes the statement of a user, by id or email, oldest first, and returns the number of its lines.

    From `since` on, until just before `until`; one snapshot, of which a block at a time is in memory. Amounts are in
    minor units, times in UTC. Errors: HomeError when there is no such user or account, or a database can't be read.
    """
    user_id = await _user_id(stack, who)
    writer = csv.writer(file)
    lines = 0
    async with _connected(stack, "payments") as payments:
        if not await payments.fetchval("SELECT EXISTS (SELECT FROM accounts WHERE user_id = $1)", user_id):
            raise HomeError(f"{who} has no account")
        writer.writerow(COLUMNS)
        async for row in payments.cursor(_LINES, user_id, since, until, prefetch=BLOCK_ROWS):
            created_at: datetime = row["created_at"]
            time = created_at.astimezone(UTC).isoformat(timespec="microseconds")
            values = (row[column] for column in COLUMNS if column not in ("number", "time", "hash"))
            writer.writerow((row["number"], time, *values, row["hash"].hex()))
            lines += 1
    return lines


async def _user_id(stack: Stack, who: str) -> UUID:
    try:
        return UUID(who)
    except ValueError:
        pass
    async with _connected(stack, "users") as users:
        found: UUID | None = await users.fetchval("SELECT id FROM users WHERE email = lower($1)", who)
    if found is None:
        raise HomeError(f"nobody has registered as {who}")
    return found


@asynccontextmanager
async def _connected(stack: Stack, database: str) -> AsyncIterator[Connection]:
    try:
        connection = await asyncpg.connect(stack.superuser_url(database))
    except AWAY as error:
        raise _away(stack, error) from error
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _away(stack, error) from error
    finally:
        await connection.close()


def _away(stack: Stack, error: BaseException) -> HomeError:
    return HomeError(f"the databases can't be read now ({error}): look at {stack.home.command('status')}")


_LINES = """
    SELECT number, created_at, kind, order_id, payout_id, purchase_id, to_available AS amount, to_held AS held_amount,
           balance, held, currency, hash
    FROM transactions
    WHERE user_id = $1 AND ($2::timestamptz IS NULL OR created_at >= $2)
          AND ($3::timestamptz IS NULL OR created_at < $3)
    ORDER BY number
"""
