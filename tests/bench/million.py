"""`python -m tests.bench.million`: what a thousand orders and a million differ in, for who reads and for the planner.

Two stacks run side by side, one with a thousand orders and one with a million, and are called in turns, so that noise
hits both alike. The latencies are shown; a statement that walks through a table with a million orders, or a check that
finds something, is an error.
"""

import argparse
import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import asyncpg
import grpc
from redis.asyncio import Redis
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gozon.orders.v1.orders_pb2 import GetOrderRequest, ListOrdersRequest
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from kit.db import Database, sql
from kit.ids import new_id
from stack.check import check
from stack.home import Stack
from tests.bench.bulk import load
from tests.bench.people import Person, make_people
from tests.bench.stack import address, own_stack
from tests.statements import SIZES, WAITING, walks_of_orders, walks_of_payments

if TYPE_CHECKING:
    from gozon.orders.v1.orders_pb2_grpc import OrdersServiceAsyncStub  # there is no such class at run time

THOUSAND = 1_000
FEW, MANY_OF = 25, 100
"""Orders of a customer with few of them; one with many has a hundredth of all, and 100 or more."""
PEOPLE_OF_A_KIND = 4
ORDERS_OF_OTHERS = 10
PEOPLE = 2 * PEOPLE_OF_A_KIND
REQUESTS = 300
"""Of each measurement, one after the other."""
AGAIN = 20
"""Orders that are asked for again and again where the cache is to answer."""
TOLERATED = 1.2
STUCK_AFTER = 10.0
UNCACHED, CACHED, LONG, SHORT = "GetOrder", "GetOrder, cached", "ListOrders of many", "ListOrders of few"
SUBJECTS = (UNCACHED, CACHED, LONG, SHORT)
ATTEMPTS = 5
"""Of each measurement: on a busy machine the cache may be late, and then nobody asks it for a second."""
WAYS = {"direct": "orders", "edge": "edge"}
console = Console(highlight=False)

Call = tuple[Person, GetOrderRequest | ListOrdersRequest]


@dataclass
class Side:
    """A stack with orders, and clients of it."""

    name: str
    stack: Stack
    many: Sequence[Person]
    few: Sequence[Person]
    stubs: dict[str, "OrdersServiceAsyncStub"]
    redis: Redis

    async def took(self, call: Call, way: str) -> float:
        """Calls, and returns the seconds until the answer. Errors: grpc.RpcError."""
        person, request = call
        stub = self.stubs[way]
        started = time.perf_counter()
        if isinstance(request, GetOrderRequest):
            await stub.GetOrder(request, metadata=person.metadata)
        else:
            await stub.ListOrders(request, metadata=person.metadata)
        return time.perf_counter() - started

    async def calls(self, subject: str) -> list[Call]:
        """Returns what a measurement calls. What was cached before is not, apart from what this one wants to be."""
        if subject in (LONG, SHORT):
            people = self.many if subject == LONG else self.few
            return [(people[n % len(people)], ListOrdersRequest()) for n in range(REQUESTS)]
        await self.redis.flushdb()
        owners = {person.user_id: person for person in (*self.many, *self.few)}
        connection = await asyncpg.connect(self.stack.superuser_url("orders"))
        try:
            rows = await connection.fetch(_SOME_ORDERS, list(owners), REQUESTS)
        finally:
            await connection.close()
        calls: list[Call] = [(owners[str(r["user_id"])], GetOrderRequest(order_id=str(r["id"]))) for r in rows]
        if subject == CACHED:
            calls = calls[:AGAIN] * (REQUESTS // AGAIN)
            for call in calls[:AGAIN]:
                await self.took(call, "direct")
        return calls

    async def cache_hits(self) -> int:
        """Returns how often the cache had what it was asked for."""
        stats = await self.redis.info("stats")
        return int(stats["keyspace_hits"])


# Only what is at rest is ever cached.
_SOME_ORDERS = """
    SELECT user_id, id FROM orders WHERE user_id = ANY($1::uuid[]) AND status = 'PAID' ORDER BY random() LIMIT $2
"""


@asynccontextmanager
async def _side(orders: int) -> AsyncIterator[Side]:
    """Starts a stack with so many orders."""
    name = f"{orders:,} orders"
    console.print(f"Starting a stack of its own for {name}")
    async with own_stack(f"{orders}") as stack:
        edge = address(stack, "edge")
        people = await make_people(edge, edge, PEOPLE, funds=0)
        many, few = people[:PEOPLE_OF_A_KIND], people[PEOPLE_OF_A_KIND:]
        plan = {person.user_id: max(MANY_OF, orders // MANY_OF) for person in many}
        plan |= {person.user_id: FEW for person in few}
        others = orders - sum(plan.values())
        plan |= {new_id(): ORDERS_OF_OTHERS for _ in range(others // ORDERS_OF_OTHERS)}
        started = time.monotonic()
        await load(stack, plan)
        console.print(f"  {sum(plan.values()):,} orders of {len(plan):,} users in {time.monotonic() - started:.1f} s")
        channels = {way: grpc.aio.insecure_channel(address(stack, process)) for way, process in WAYS.items()}
        redis = Redis.from_url(stack.redis_url)
        try:
            yield Side(name, stack, many, few, {w: OrdersServiceStub(c) for w, c in channels.items()}, redis)
        finally:
            await redis.aclose()
            for channel in channels.values():
                await channel.close()


async def _measure(sides: tuple[Side, Side], repeats: int) -> None:
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for repeat in range(repeats + 1):
        console.print(f"Round {repeat} of {repeats}" if repeat else "Warming up")
        for subject in SUBJECTS:
            for way in WAYS:
                for side, p50 in zip(sides, await _p50s(sides, subject, way), strict=True):
                    if repeat:
                        found[subject, way, side.name].append(p50)
    table = Table(*("p50, ms", *(side.name for side in sides), "ratio", ""), box=SIMPLE_HEAD)
    for subject in SUBJECTS:
        for way in WAYS:
            small, large = (median(found[subject, way, side.name]) for side in sides)
            verdict = "✓" if large <= TOLERATED * small else "✗"
            table.add_row(f"{subject}, {way}", f"{small:.2f}", f"{large:.2f}", f"{large / small:.2f}", verdict)
    console.print(table)
    console.print(f"Medians of {repeats} rounds of {REQUESTS} calls; ✓: at most {TOLERATED} times as long")


async def _p50s(sides: tuple[Side, Side], subject: str, way: str) -> list[float]:
    """Measures both, call by call in turns: milliseconds. Errors: RuntimeError when the cache did not do its part."""
    for _ in range(ATTEMPTS):
        calls = [await side.calls(subject) for side in sides]
        before = [await side.cache_hits() for side in sides]
        took: tuple[list[float], list[float]] = ([], [])
        for number in range(REQUESTS):
            for each in (0, 1) if number % 2 else (1, 0):
                took[each].append(await sides[each].took(calls[each][number], way))
        hits = [await side.cache_hits() - then for side, then in zip(sides, before, strict=True)]
        if all(number == (REQUESTS if subject == CACHED else 0) for number in hits):
            return [median(seconds) * 1e3 for seconds in took]
    raise RuntimeError(f"{subject}: {hits} answers of {REQUESTS} came from the cache")


async def _walks(stack: Stack) -> list[str]:
    """Returns the statements that walk through a table, with the planner's settings of the services."""
    found: list[str] = []
    for service, walks in (("orders", walks_of_orders), ("payments", walks_of_payments)):
        database = Database(stack.database_url(service))
        with suppress(_UndoneError):
            async with database.transaction() as tx:
                # Committed, they would be published.
                for statement in WAITING:
                    await tx.execute(sql(statement))
                for size in SIZES:
                    found += [f"{service}, {size} rows: {walk}" for walk in await walks(tx, size)]
                raise _UndoneError
        await database.close()
    return found


class _UndoneError(Exception):
    pass


async def compare(orders: int, repeats: int) -> list[str]:
    """Loads and measures, prints what it finds, and returns what must not be."""
    async with _side(orders) as large, _side(THOUSAND) as small:
        await _measure((small, large), repeats)
        problems = await _walks(large.stack)
        console.print(f"{'✗' if problems else '✓'} no statement walks through a table with {large.name}")
        started = time.monotonic()
        report = await check(large.stack, STUCK_AFTER)
        took = time.monotonic() - started
        console.print(f"{'✓' if report.ok else '✗'} gozon check: {report.transactions:,} transactions in {took:.1f} s")
        problems += [f"{result.rule}: {result.broken} rows, {result.rows[:1]}" for result in report.broken()]
    return problems


def main() -> None:
    """Compares; exits 1 when a statement walks through a table or the check finds something."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.million", description=__doc__)
    parser.add_argument(
        "--orders",
        type=int,
        default=1_000_000,
        help="default 1,000,000; short tables are walked through",
    )
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement (default 5)")
    given = parser.parse_args()
    try:
        problems = asyncio.run(compare(given.orders, given.repeats))
    except RuntimeError as error:
        problems = [str(error)]
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; nothing is left running")
    for problem in problems:
        console.print(f"✗ {problem}", style="red", markup=False, soft_wrap=True)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
