"""Settled orders a second: from the first request until the database says that no accepted order is unpaid."""

import asyncio
import time
from dataclasses import asdict, dataclass

import asyncpg

from stack.home import Stack
from tests.bench.answered import Answered, Load, under

SETTLE_SECONDS = 60.0
POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Settled(Answered):
    """One run of the load generator, until the last order was PAID."""

    settle_median_ms: float
    """From an order's creation to PAID, under load, as its row says."""
    settle_p99_ms: float


async def measure(stack: Stack, subject: str, load: Load) -> Settled:
    """Loads a subject once.

    Errors: RuntimeError unless every request was accepted and every accepted order, and no other, became PAID.
    """
    connection = await asyncpg.connect(stack.superuser_url("orders"))
    try:
        await wait_until_settled(connection)
        before = await _by_status(connection)
        answered = await under(stack, subject, "orders", load, lambda: wait_until_settled(connection))
        after = await _by_status(connection)
        if after != before | {"PAID": before.get("PAID", 0) + answered.accepted}:
            raise RuntimeError(f"{subject}: {answered.accepted} accepted, but orders went from {before} to {after}")
        median, p99 = await connection.fetchrow(_SETTLE_SECONDS, answered.began) or (0, 0)
    finally:
        await connection.close()
    return Settled(**asdict(answered), settle_median_ms=float(median) * 1e3, settle_p99_ms=float(p99) * 1e3)


async def wait_until_settled(connection: "asyncpg.Connection[asyncpg.Record]") -> float:
    """Returns when no order was PENDING any more, in Unix seconds. Errors: RuntimeError when that takes a minute."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while await connection.fetchval("SELECT 1 FROM orders WHERE status = 'PENDING' LIMIT 1"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not settled after {SETTLE_SECONDS:.0f} s: {await _by_status(connection)}")
        await asyncio.sleep(POLL_SECONDS)
    return time.time()


async def _by_status(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    return {row["status"]: row["count"] for row in await connection.fetch(_BY_STATUS)}


_BY_STATUS = "SELECT status, count(*) FROM orders GROUP BY status"
_SETTLE_SECONDS = """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY took), percentile_cont(0.99) WITHIN GROUP (ORDER BY took)
    FROM (SELECT extract(epoch FROM updated_at - created_at) AS took FROM orders
          WHERE created_at >= to_timestamp($1)) AS settled
"""
