"""What must be true once everything is back: nothing lost, nothing doubled, nothing stuck."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence

import asyncpg
import grpc

from gozon.orders.v1.orders_pb2 import GetOrderRequest, ListOrdersRequest, Order
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from gozon.payments.v1.payments_pb2 import GetAccountRequest
from gozon.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from stack import control
from stack.check import check
from stack.home import Stack
from tests.bench.stack import address
from tests.chaos.shoppers import Book

SETTLE_SECONDS = 120.0
"""Orders asks again for what NATS lost after 30 s, and once more after 60 s if that was lost too."""
POLL_SECONDS = 0.2
PAGE_SIZE = 100
AT_ONCE = 16
SHOWN = 20


async def settle(stack: Stack) -> float:
    """Waits until all processes are ready, nothing waits for an answer or unpublished; returns the seconds it took.

    Errors: TimeoutError when that takes too long: something is stuck.
    """
    began = time.monotonic()
    async with asyncio.timeout(SETTLE_SECONDS):
        while not (await _all_ready(stack) and await _nothing_waits(stack)):  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - began


async def violations(stack: Stack, books: Sequence[Book]) -> list[str]:
    """Compares what people were told with what the API and the databases say; empty when all is well."""
    found = [f"{book.person.user_id}: {problem}" for book in books for problem in book.problems]
    async with grpc.aio.insecure_channel(address(stack, "edge")) as channel:
        for book in books:
            found += await _compare(book, channel)
    found += await _compare_databases(stack, books)
    report = await check(stack, stuck_after=0)
    for result in report.results:
        if result.broken:
            found.append(f"gozon check: {result.rule}: {result.broken} rows, such as {result.rows[0]}")
    return found


async def _all_ready(stack: Stack) -> bool:
    return (await asyncio.to_thread(control.status, stack.home)).ok


async def _nothing_waits(stack: Stack) -> bool:
    waiting = 0
    for service, sql in _WAITING.items():
        connection = await asyncpg.connect(stack.database_url(service))
        waiting += await connection.fetchval(sql)
        await connection.close()
    return waiting == 0


async def _compare(book: Book, channel: grpc.aio.Channel) -> list[str]:
    """Compares the book of one person with what the API tells that person."""
    orders, payments = OrdersServiceStub(channel), PaymentsServiceStub(channel)
    listed = {order.id: order async for order in _listed(book, channel)}
    found = list(_compare_orders(book, listed))
    slots = asyncio.Semaphore(AT_ONCE)

    async def get(order_id: str) -> Order | str:
        async with slots:
            try:
                return await orders.GetOrder(GetOrderRequest(order_id=order_id), metadata=book.person.metadata)
            except grpc.aio.AioRpcError as error:
                return str(error.details())

    # The cache must tell what the database tells.
    for order_id, got in zip(book.orders, await asyncio.gather(*map(get, book.orders)), strict=True):
        if got != listed.get(order_id):
            found.append(f"GetOrder and ListOrders disagree about {order_id}: {got}")
    spent = sum(order.total_price for order in listed.values() if order.status == Order.PAID)
    user_id = book.person.user_id
    account = await payments.GetAccount(GetAccountRequest(user_id=user_id), metadata=book.person.metadata)
    if account.balance != book.deposited - spent or account.held:
        found.append(
            f"{user_id}: deposited {book.deposited}, spent {spent}, but the balance is {account.balance}, "
            f"{account.held} of it held"
        )
    return found


async def _listed(book: Book, channel: grpc.aio.Channel) -> AsyncIterator[Order]:
    orders = OrdersServiceStub(channel)
    token = ""
    while True:
        request = ListOrdersRequest(page_size=PAGE_SIZE, page_token=token)
        page = await orders.ListOrders(request, metadata=book.person.metadata)
        for order in page.orders:
            yield order
        token = page.next_page_token
        if not token:
            return


def _compare_orders(book: Book, listed: dict[str, Order]) -> Iterable[str]:
    for order_id, price in book.orders.items():
        order = listed.get(order_id)
        if order is None:
            yield f"the accepted order {order_id} is lost"
        elif order.status not in (Order.PAID, Order.CANCELED):
            yield f"the order {order_id} is {Order.Status.Name(order.status)}"
        elif order.total_price != price:
            yield f"the order {order_id} costs {order.total_price}, not {price}"
    for order_id in listed.keys() - book.orders.keys():
        yield f"the order {order_id} is one too many: each key was answered with another"


async def _compare_databases(stack: Stack, books: Sequence[Book]) -> list[str]:
    """Compares all books with the tables, in sum."""
    found = []
    connection = await asyncpg.connect(stack.database_url("orders"))
    by_status = {row["status"]: (row["orders"], row["total"]) for row in await connection.fetch(_ORDERS)}
    await connection.close()
    connection = await asyncpg.connect(stack.database_url("payments"))
    money = await connection.fetchrow(_MONEY)
    await connection.close()
    assert money is not None
    accepted = sum(len(book.orders) for book in books)
    if sum(count for count, _ in by_status.values()) != accepted or not by_status.keys() <= {"PAID", "CANCELED"}:
        found.append(f"{accepted} orders were accepted, but the table has {by_status}")
    deposited = sum(book.deposited for book in books)
    paid = by_status.get("PAID", (0, 0))[1]
    if (money["deposited"], money["revenue"], money["balance"]) != (deposited, paid, deposited - paid):
        found.append(f"deposited {deposited}, paid {paid}, but Payments has {dict(money)}")
    return found


_WAITING = {
    "orders": """SELECT (SELECT count(*) FROM orders WHERE asked_at IS NOT NULL)
                 + (SELECT count(*) FROM refunds WHERE asked_at IS NOT NULL) + (SELECT count(*) FROM outbox)""",
    "payments": "SELECT count(*) FROM outbox",
}
_ORDERS = "SELECT status, count(*) AS orders, sum(total_price)::bigint AS total FROM orders GROUP BY status"
_MONEY = """
    SELECT (SELECT sum(balance)::bigint FROM accounts) AS balance,
           (SELECT -sum(amount)::bigint FROM entries WHERE account = 'funding') AS deposited,
           (SELECT coalesce(sum(amount), 0)::bigint FROM entries WHERE account = 'revenue') AS revenue
"""
