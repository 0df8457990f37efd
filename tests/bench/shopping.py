"""Purchases and inventories a second, and what each costs; inventories from the cache, and from the database."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import httpx
from redis.asyncio import Redis

from kit.ids import new_id
from stack.home import Stack
from tests.bench.answered import Answered, Load, under

DONE_SECONDS = 60.0
POLL_SECONDS = 0.002
POPULAR_USERS = 64
"""Whose inventories are read again and again where the cache is to answer."""
WARM_SECONDS = 0.3
ATTEMPTS = 5
"""Of each measurement: on a busy machine the cache may be late, and then nobody asks it for a second."""


async def purchases(stack: Stack, subject: str, load: Load) -> Answered:
    """Buys for some seconds, and waits until all events are published and deleted.

    Errors: RuntimeError unless every purchase was accepted, and they, and no others, are COMPLETED.
    """
    connection = await asyncpg.connect(stack.superuser_url("payments"))
    try:
        await _wait_until_told(connection)
        before = await _by_status(connection)
        answered = await under(stack, subject, "payments", load, lambda: _wait_until_told(connection))
        after = await _by_status(connection)
    finally:
        await connection.close()
    if after != before | {"COMPLETED": before.get("COMPLETED", 0) + answered.accepted}:
        raise RuntimeError(f"{subject}: {answered.accepted} accepted, but purchases went from {before} to {after}")
    return answered


async def inventories(stack: Stack, subject: str, load: Load, users: Sequence[str], *, cached: bool) -> Answered:
    """Reads inventories of `users` for some seconds: those of a few from the cache, or each once, from the database.

    Errors: RuntimeError unless every answer came from there.
    """
    assert load.ids is not None
    load.ids.write_text("\n".join(users[:POPULAR_USERS] if cached else users))
    for _ in range(ATTEMPTS):
        answered, reads = await _read(stack, subject, load, cached=cached)
        if reads == {"hit" if cached else "miss": answered.accepted}:
            return answered
    raise RuntimeError(f"{subject}: {answered.accepted} answers, but the cache was read so: {dict(reads)}")


async def _read(stack: Stack, subject: str, load: Load, *, cached: bool) -> tuple[Answered, Counter[str]]:
    """Reads once, and tells how often the cache was read, by outcome."""
    if cached:
        await under(stack, subject, "payments", replace(load, seconds=WARM_SECONDS))
    else:
        async with Redis.from_url(stack.redis_url) as redis:
            await redis.flushdb()
    before = await cache_reads(stack)
    answered = await under(stack, subject, "payments", load)
    return answered, await cache_reads(stack) - before


@asynccontextmanager
async def goods_of(stack: Stack, users: int, products: Sequence[str]) -> AsyncIterator[list[str]]:
    """Gives each product to so many users, who own nothing else; not for money, so it is taken back at the end."""
    owners = [new_id() for _ in range(users)]
    connection = await asyncpg.connect(stack.superuser_url("payments"))
    try:
        await connection.execute(_GIVE, owners, list(products))
        await connection.execute("VACUUM ANALYZE goods")
        yield owners
    finally:
        await connection.execute("DELETE FROM goods WHERE user_id = ANY($1::uuid[])", owners)
        await connection.close()


async def cache_reads(stack: Stack) -> Counter[str]:
    """Returns how the reads of the cache by Payments have ended, by outcome: hit, miss, skipped, failed."""
    found: Counter[str] = Counter()
    async with httpx.AsyncClient(trust_env=False) as client:
        for name in stack.config.instance_names("payments"):
            url = f"http://127.0.0.1:{stack.config.ports[f'{name}-metrics']}/metrics"
            for line in (await client.get(url)).text.splitlines():
                if line.startswith('cache_reads_total{outcome="'):
                    found[line.split('"')[1]] += round(float(line.split()[-1]))
    return found


async def _wait_until_told(connection: "asyncpg.Connection[asyncpg.Record]") -> float:
    deadline = time.monotonic() + DONE_SECONDS
    while await connection.fetchval("SELECT 1 FROM outbox LIMIT 1"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"events are not published after {DONE_SECONDS:.0f} s")
        await asyncio.sleep(POLL_SECONDS)
    return time.time()


async def _by_status(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    rows = await connection.fetch("SELECT status, count(*) FROM purchases GROUP BY status")
    return {row["status"]: row["count"] for row in rows}


_GIVE = """
    INSERT INTO goods (user_id, product_id, type, quantity, acquired_at, updated_at)
    SELECT user_id, product_id, 'CONSUMABLE', 3, now(), now()
    FROM unnest($1::uuid[]) AS users (user_id), unnest($2::uuid[]) AS products (product_id)
"""
