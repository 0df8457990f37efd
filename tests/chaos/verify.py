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
from tests.chaos.shoppers import Book, Bought

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
    spent = sum(order.paid_price - order.refunded_price for order in listed.values())
    held = sum(order.total_price for order in listed.values() if order.status == Order.AUTHORIZED)
    user_id = book.person.user_id
    account = await payments.GetAccount(GetAccountRequest(user_id=user_id), metadata=book.person.metadata)
    if account.balance != book.deposited - spent or account.held != held:
        found.append(
            f"{user_id}: deposited {book.deposited}, spent {spent}, {held} to be held, but the balance is "
            f"{account.balance}, {account.held} of it held"
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
    for order_id, bought in book.orders.items():
        order = listed.get(order_id)
        if order is None:
            yield f"the accepted order {order_id} is lost"
        elif problem := _problem(bought, order):
            yield f"{problem}: {bought} became {str(order).replace(chr(10), ' ')}"
    for order_id in listed.keys() - book.orders.keys():
        yield f"the order {order_id} is one too many: each key was answered with another"


def _problem(bought: Bought, order: Order) -> str:
    """Says what is wrong with an order; nothing when it became what was asked for and was paid accordingly."""
    if order.status not in bought.ends:
        return "the wrong end"
    if order.total_price != bought.price:
        return "the wrong price"
    if order.status == Order.CANCELED:
        if not bought.canceled and order.cancel_reason != Order.INSUFFICIENT_FUNDS:
            return "nobody canceled it"
        none_kept = order.paid_price in (0, bought.price) and order.refunded_price == order.paid_price
        return "" if none_kept else "the wrong money"
    paid = 0 if order.status == Order.AUTHORIZED else bought.price
    return "" if (order.paid_price, order.refunded_price) == (paid, bought.refunded) else "the wrong money"


async def _compare_databases(stack: Stack, books: Sequence[Book]) -> list[str]:
    """Compares all books with the tables, in sum."""
    found = []
    connection = await asyncpg.connect(stack.database_url("orders"))
    orders = await connection.fetchrow(_ORDERS)
    await connection.close()
    connection = await asyncpg.connect(stack.database_url("payments"))
    money = await connection.fetchrow(_MONEY)
    await connection.close()
    assert orders is not None
    assert money is not None
    accepted = sum(len(book.orders) for book in books)
    if orders["orders"] != accepted:
        found.append(f"{accepted} orders were accepted, but the table has {orders['orders']}")
    deposited, spent = sum(book.deposited for book in books), orders["spent"]
    wanted = {"deposited": deposited, "revenue": spent, "balance": deposited - spent, "held": orders["held"]}
    if dict(money) != wanted:
        found.append(f"Payments should have {wanted}, but has {dict(money)}")
    return found


_WAITING = {
    "orders": """SELECT (SELECT count(*) FROM orders WHERE asked_at IS NOT NULL)
                 + (SELECT count(*) FROM refunds WHERE asked_at IS NOT NULL) + (SELECT count(*) FROM outbox)""",
    "payments": "SELECT count(*) FROM outbox",
}
_ORDERS = """
    SELECT count(*) AS orders, coalesce(sum(paid_price - refunded_price), 0)::bigint AS spent,
           coalesce(sum(total_price) FILTER (WHERE status = 'AUTHORIZED'), 0)::bigint AS held
    FROM orders
"""
_MONEY = """
    SELECT (SELECT -sum(amount)::bigint FROM entries WHERE account = 'funding') AS deposited,
           (SELECT coalesce(sum(amount), 0)::bigint FROM entries WHERE account = 'revenue') AS revenue,
           sum(balance)::bigint AS balance, sum(held)::bigint AS held
    FROM accounts
"""
