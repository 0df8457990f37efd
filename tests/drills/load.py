"""People who order while a drill goes on, and what they noticed of it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import asyncpg
import grpc
import httpx
from rich.console import Console

from gozon.orders.v1.orders_pb2 import ListOrdersRequest
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from gozon.users.v1.users_pb2 import TokenRequest
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from stack.check import check
from stack.home import ADMIN_EMAIL, Stack
from tests.bench.people import make_people, sign_in
from tests.bench.stack import address
from tests.chaos.clients import CHANNEL_OPTIONS, Book, Client, call
from tests.chaos.shoppers import GrpcShopper, RestShopper, Shopper
from tests.chaos.verify import settle, violations

TWO_OF_EACH = {"users": 2, "orders": 2, "payments": 2, "push": 2, "worker-orders": 2, "worker-payouts": 2}
QUICK_WORKERS = {"worker.process_order_seconds": 0}
PEOPLE = 8
FUNDS = 10_000_000
THINK_SECONDS = 0.1
VISIT_SECONDS = 0.5
console = Console(highlight=False)


class Visitor(Client):
    """The administrator, who signs in, goes on with the refresh token and looks at orders, again and again."""

    async def visit(self, password: str, channel: grpc.aio.Channel, stop: asyncio.Event) -> None:
        """Sends requests until `stop`; returns when the last one is answered, or given up as a problem."""
        users, orders = UsersServiceStub(channel), OrdersServiceStub(channel)
        person = self.book.person
        sign_in = TokenRequest(grant_type="password", username=ADMIN_EMAIL, password=password)
        while not stop.is_set():
            answer = await self.until_answered(partial(call, users.Token, sign_in, person))
            if answer is not None:
                refresh = TokenRequest(grant_type="refresh_token", refresh_token=answer[0].refresh_token)
                await self.until_answered(partial(call, users.Token, refresh, person))
            await self.until_answered(partial(call, orders.ListOrders, ListOrdersRequest(), person))
            await asyncio.sleep(VISIT_SECONDS)


@dataclass
class Crowd:
    """Everybody who orders, and their books; and the visitor's."""

    books: list[Book]
    visitor: Book
    began: float = field(default_factory=time.monotonic)

    def tell(self, line: str) -> None:
        """Prints a line with the time since the load began."""
        console.print(f"  {time.monotonic() - self.began:5.1f} s  {line}", markup=False)

    @property
    def accepted(self) -> set[str]:
        """All orders that were accepted until now, by id."""
        return {order_id for book in self.books for order_id in book.orders}

    @property
    def refused(self) -> Counter[str]:
        """How often requests failed, by how; each was sent again until it was answered."""
        return Counter(kind for book in (*self.books, self.visitor) for _, kind in book.refused)

    def report(self) -> None:
        """Prints what the crowd noticed."""
        books = (*self.books, self.visitor)
        answers, slowest = sum(book.answers for book in books), max(book.slowest for book in books)
        console.print(
            f"{answers} requests answered, {self.refused.total()} attempts failed, {len(self.accepted)} orders "
            f"accepted; the slowest answer took {slowest:.2f} s"
        )
        for kind, count in self.refused.most_common():
            console.print(f"  {count} times {kind}", markup=False)


@asynccontextmanager
async def crowd(stack: Stack) -> AsyncIterator[Crowd]:
    """People order through the edge, half of them over REST, and one signs in and looks, until the end of the block."""
    edge = address(stack, "edge")
    admin = await sign_in(edge, ADMIN_EMAIL, stack.secrets.admin)
    books = [Book(person, FUNDS) for person in await make_people(edge, edge, PEOPLE, FUNDS)]
    found = Crowd(books, Book(admin, 0))
    async with (
        grpc.aio.insecure_channel(edge, options=CHANNEL_OPTIONS) as channel,
        httpx.AsyncClient(base_url=stack.edge_url) as client,
    ):
        shoppers: list[Shopper] = [
            GrpcShopper(book, admin, str(number), THINK_SECONDS, channel)
            if number % 2
            else RestShopper(book, admin, str(number), THINK_SECONDS, client)
            for number, book in enumerate(found.books)
        ]
        stop = asyncio.Event()
        visitor = Visitor(found.visitor, "visitor")
        load = asyncio.gather(
            visitor.visit(stack.secrets.admin, channel, stop), *(shopper.shop(stop) for shopper in shoppers)
        )
        try:
            yield found
        finally:
            stop.set()
            await load


async def outcome(stack: Stack, found: Crowd, *, may_fail: bool) -> list[str]:
    """Waits until all is settled, prints what was noticed, and returns what is wrong: `gozon check` and the books.

    Unless they `may_fail`, a request that failed is wrong too, although it was repeated.
    """
    found.tell("all requests are answered; waiting until all settle")
    # A worker that is still at it changes orders while they are compared.
    works = stack.config.instances["worker-orders"] > 0
    try:
        found.tell(f"settled after another {await settle(stack, found.tell if works else None):.1f} s")
    except TimeoutError:
        return ["not settled in time: something is stuck"]
    found.report()
    slowest, stall = await settling(stack)
    console.print(
        f"The longest that an order waited for its payment: {slowest:.2f} s; "
        f"the longest time in which no order was paid: {stall:.2f} s"
    )
    failed = [] if may_fail else [f"{count} times {kind}" for kind, count in found.refused.items()]
    return failed + found.visitor.problems + await violations(stack, found.books)


async def broken_rules(stack: Stack) -> list[str]:
    """Returns what `gozon check` finds."""
    report = await check(stack, stuck_after=0)
    return [
        f"gozon check: {each.rule}: {each.broken} rows, such as {each.rows[0]}"
        for each in report.results
        if each.broken
    ]


async def settling(stack: Stack) -> tuple[float, float]:
    """Returns the longest time from an order's creation until it was paid, held or declined, and from one such end to
    the next one of any order, in seconds.
    """
    connection = await asyncpg.connect(stack.database_url("orders"))
    try:
        row = await connection.fetchrow(_SETTLING)
    finally:
        await connection.close()
    assert row is not None
    return float(row["slowest"] or 0), float(row["stall"] or 0)


_SETTLING = """
    SELECT extract(epoch FROM max(settled_at - created_at)) AS slowest, extract(epoch FROM max(since_last)) AS stall
    FROM (
        SELECT created_at, settled_at, settled_at - lag(settled_at) OVER (ORDER BY settled_at) AS since_last FROM (
            SELECT orders.created_at, min(changes.changed_at) AS settled_at
            FROM orders JOIN order_changes AS changes
                ON changes.order_id = orders.id AND changes.user_id = orders.user_id AND changes.cause = 'PAYMENT'
            GROUP BY orders.user_id, orders.id, orders.created_at
        ) AS settled
    ) AS stalls
"""
