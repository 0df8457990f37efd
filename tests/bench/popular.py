"""`python -m tests.bench.popular`: how long popular products take with a million purchases in the last week.

A miss is the first answer of an instance that has just started, with an empty cache: then PostgreSQL counts. All others
come from the cache (hits). A plan that walks through the purchases, or an answer that came from elsewhere, is an error.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from statistics import median

import asyncpg
import httpx
from redis.asyncio import Redis
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kit.db import Database
from services.payments import shop_repository
from services.payments.shop import POPULAR_DAYS
from services.payments.shop_service import POPULAR_LIMIT
from stack.home import Stack
from tests.bench.people import make_people
from tests.bench.shopping import ATTEMPTS, cache_reads
from tests.bench.stack import WORKERLESS, address, own_stack, processes
from tests.support import scanned_whole

PRODUCTS = 200
USERS = 50_000
HITS = 50
"""Of each round."""
WARM_UP = 20
BACK_SECONDS = 30.0
POLL_SECONDS = 0.05
console = Console(highlight=False)


async def load(stack: Stack, purchases: int) -> None:
    """Writes down so many purchases of the last week, as many of the week before, and a few that failed.

    No goods and no money belong to them: `gozon check` would find that.
    """
    connection = await asyncpg.connect(stack.superuser_url("payments"))
    try:
        await connection.execute(_PRODUCTS, PRODUCTS)
        await connection.execute(_PURCHASES, purchases, timedelta(days=POPULAR_DAYS), USERS)
        # As autovacuum does, sooner or later.
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def in_database(stack: Stack, repeats: int) -> list[float]:
    """Returns how long PostgreSQL counts, in milliseconds. Errors: RuntimeError when it walks through the purchases."""
    since = datetime.now(UTC) - timedelta(days=POPULAR_DAYS)
    database = Database(stack.database_url("payments"))
    try:
        async with database.autocommit() as connection:
            if "purchases" in await scanned_whole(
                connection, shop_repository._POPULAR, since=since, limit=POPULAR_LIMIT
            ):
                raise RuntimeError("popular products are counted by walking through all purchases")
            took = []
            for _ in range(repeats):
                started = time.perf_counter()
                await shop_repository.popular(connection, since, POPULAR_LIMIT)
                took.append((time.perf_counter() - started) * 1e3)
    finally:
        await database.close()
    return took


async def one_round(stack: Stack, client: httpx.AsyncClient) -> tuple[float, list[float]]:
    """Starts Payments anew and returns the times of a miss and of hits, in milliseconds. Errors: RuntimeError."""
    await _restart(stack, client)
    async with Redis.from_url(stack.redis_url) as redis:
        await redis.flushdb()
    miss = await _took(client)
    if (before := await cache_reads(stack))["hit"]:
        raise RuntimeError(f"the first answer did not come from the database: {dict(before)}")
    for _ in range(ATTEMPTS):
        before = await cache_reads(stack)
        hits = [await _took(client) for _ in range(HITS)]
        if (reads := await cache_reads(stack) - before) == {"hit": HITS}:
            return miss, hits
    raise RuntimeError(f"{HITS} answers, but the cache was read so: {dict(reads)}")


async def _restart(stack: Stack, client: httpx.AsyncClient) -> None:
    """Ends Payments, which has counted, and waits until the supervisor has started it again and it is warm."""
    pid = processes(stack)["payments"]["pid"]
    os.kill(pid, signal.SIGTERM)
    answered, deadline = 0, time.monotonic() + BACK_SECONDS
    while answered < WARM_UP:
        if time.monotonic() > deadline:
            raise RuntimeError(f"Payments is not back after {BACK_SECONDS:.0f} s")
        facts = processes(stack)["payments"]
        is_back = facts["state"] == "ready" and facts["pid"] != pid
        with suppress(httpx.HTTPError):
            if is_back and (await client.get("/products")).status_code == httpx.codes.OK:
                answered += 1
                continue
        await asyncio.sleep(POLL_SECONDS)


async def _took(client: httpx.AsyncClient) -> float:
    started = time.perf_counter()
    answer = await client.get("/analytics/popular-products")
    took = (time.perf_counter() - started) * 1e3
    if answer.status_code != httpx.codes.OK or len(answer.json()["products"]) != POPULAR_LIMIT:
        raise RuntimeError(f"{answer.status_code}: {answer.text[:300]}")
    return took


async def popular(purchases: int, repeats: int) -> None:
    """Loads and measures, and prints what it finds. Errors: RuntimeError."""
    console.print("Starting a stack of its own")
    async with own_stack("popular", WORKERLESS) as stack:
        started = time.monotonic()
        await load(stack, purchases)
        console.print(f"  {purchases:,} purchases in the last week in {time.monotonic() - started:.1f} s")
        counted = await in_database(stack, repeats)
        edge = address(stack, "edge")
        [person] = await make_people(edge, edge, 1, funds=0)
        headers = {"authorization": f"Bearer {person.token}"}
        async with httpx.AsyncClient(base_url=stack.edge_url, headers=headers, timeout=30, trust_env=False) as client:
            rounds = [await one_round(stack, client) for _ in range(repeats)]
    table = Table("Popular products, ms", "median", "worst", box=SIMPLE_HEAD)
    hits = [hit for _, hits in rounds for hit in hits]
    found = {"the count in PostgreSQL": counted, "miss, edge": [miss for miss, _ in rounds], "hit, edge": hits}
    for name, took in found.items():
        table.add_row(f"{name} ({len(took)})", f"{median(took):.1f}", f"{max(took):.1f}")
    console.print(table)


_PRODUCTS = """
    INSERT INTO products (id, name, description, price, currency, type, is_active, version, created_at, updated_at)
    SELECT uuidv7(), 'boost ' || n, '', 100, 'RUB', 'CONSUMABLE', true, 1, now(), now() FROM generate_series(1, $1) AS n
"""
# The nth at its moment, so that ids and times grow together, as in life; some products are bought more than others.
_PURCHASES = """
    INSERT INTO purchases (user_id, id, product_id, product_name, quantity, price, total_price, currency, status,
                           failure_reason, created_at)
    SELECT md5(floor(random() * $3::int)::text)::uuid, uuidv7(at - now()),
           ids[1 + floor(cardinality(ids) * random() ^ 2)], 'boost', 1, 100, 100, 'RUB', status,
           CASE status WHEN 'FAILED' THEN 'INSUFFICIENT_FUNDS' ELSE '' END, at
    FROM (SELECT array_agg(id) AS ids FROM products) AS bought,
         (SELECT now() - 2 * $2::interval + 2 * $2::interval * n / (2.04 * $1::int) AS at,
                 CASE n % 51 WHEN 0 THEN 'FAILED' ELSE 'COMPLETED' END AS status
          FROM generate_series(1, (2.04 * $1::int)::int) AS n) AS dated
"""


def main() -> None:
    """Measures; exits 1 when an answer or a plan is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.popular", description=__doc__)
    parser.add_argument("--purchases", type=int, default=1_000_000, help="of the last week (default 1,000,000)")
    parser.add_argument("--repeats", type=int, default=7, help="misses that are measured (default 7)")
    given = parser.parse_args()
    try:
        asyncio.run(popular(given.purchases, given.repeats))
    except RuntimeError as error:
        console.print(f"✗ {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; nothing is left running")


if __name__ == "__main__":
    main()
