"""What must be true once everything is back: nothing lost, nothing doubled, nothing stuck."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import grpc

from gozon.orders.v1.orders_pb2 import GetOrderRequest, ListOrdersRequest, Order
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from gozon.payments.v1.payments_pb2 import GetAccountRequest
from gozon.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from gozon.payouts.v1.payouts_pb2 import ListPayoutsRequest, Payout
from gozon.payouts.v1.payouts_pb2_grpc import PayoutsServiceStub
from gozon.shop.v1.shop_pb2 import ListPurchasesRequest, Purchase
from gozon.shop.v1.shop_pb2_grpc import ShopServiceStub
from kit.errors import Unavailable
from stack import control
from stack.check import check
from stack.home import Stack
from stack.provider import DECLINED, PAID
from tests.bench.people import Person
from tests.bench.stack import address
from tests.chaos.clients import Book, Bought
from tests.chaos.verify_shop import compare_goods, compare_purchases, out_of_date
from tests.workers.simulator import Provider
from workers.app import WORKERS
from workers.dispatcher import Queues

SETTLE_SECONDS = 120.0
"""Orders asks again for what NATS lost after 30 s, and once more after 60 s if that was lost too."""
WORK_SECONDS = 300.0
"""Payments and Orders ask workers again after 30 and 60 s, and then later and later."""
POLL_SECONDS = 0.2
TELL_SECONDS = 5.0
PAGE_SIZE = 100
AT_ONCE = 16
SHOWN = 20


async def settle(stack: Stack, tell: Callable[[str], None] | None = None) -> float:
    """Waits until all processes are ready, nothing waits for an answer or unpublished; returns the seconds it took.

    With `tell`, to which it tells now and then what is left, also until workers have nothing more to do: no order to
    process, no payout to end, and no task left, not even one that a dead worker had taken.

    Errors: TimeoutError when that takes too long: something is stuck.
    """
    began = told_at = time.monotonic()
    async with asyncio.timeout(WORK_SECONDS if tell else SETTLE_SECONDS):
        while waiting := await _waiting(stack, work=tell is not None):
            if tell and time.monotonic() - told_at > TELL_SECONDS:
                told_at = time.monotonic()
                tell(", ".join(f"{what}: {count}" for what, count in waiting.items()))
            await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - began


async def violations(stack: Stack, books: Sequence[Book]) -> list[str]:
    """Compares what people were told with what the API and the databases say; empty when all is well."""
    found = [f"{book.person.user_id}: {problem}" for book in books for problem in book.problems]
    provided = await provided_by(stack)
    async with grpc.aio.insecure_channel(address(stack, "edge")) as channel:
        for book in books:
            found += await _compare(book, channel, provided)
        found += await compare_goods(stack, books, channel)
    found += out_of_date(stack, books)
    known = {payout_id for book in books for payout_id in book.payouts}
    found += [f"the provider has {payout_id}, which nobody asked for" for payout_id in provided.keys() - known]
    found += await _compare_databases(stack, books, provided)
    report = await check(stack, stuck_after=0)
    if report.dead_letters:
        found.append(f"{report.dead_letters} events became dead letters")
    for result in report.results:
        if result.broken:
            found.append(f"gozon check: {result.rule}: {result.broken} rows, such as {result.rows[0]}")
    return found


async def provided_by(stack: Stack) -> dict[str, dict[str, Any]]:
    """Returns what the payout provider of a stack has done, by payout."""
    provider = Provider(stack.provider_url, stack.secrets.provider)
    async with provider.client:
        return await provider.book()


async def _waiting(stack: Stack, *, work: bool) -> dict[str, int]:
    """Returns how much waits of what; empty when nothing does."""
    if not (await asyncio.to_thread(control.status, stack.home)).ok:
        return {"processes that are not ready": 1}
    waiting = {}
    for what, (service, sql) in (_WAITING | _WORK if work else _WAITING).items():
        connection = await asyncpg.connect(stack.database_url(service))
        waiting[what] = await connection.fetchval(sql)
        await connection.close()
    if work:
        waiting["tasks"] = await asyncio.to_thread(_tasks, stack)
    return {what: count for what, count in waiting.items() if count}


def _tasks(stack: Stack) -> int:
    """Returns how many tasks the broker has, taken by workers or not."""
    queues = Queues(stack.broker_url)
    try:
        return sum(sum(queues.lengths(kind).values()) for kind in WORKERS)
    except Unavailable:
        return 1
    finally:
        queues.close()


async def _compare(book: Book, channel: grpc.aio.Channel, provided: Mapping[str, dict[str, Any]]) -> list[str]:
    """Compares the book of one person with what the API tells that person, and with what the provider has done."""
    orders, payments = OrdersServiceStub(channel), PaymentsServiceStub(channel)
    person, user_id = book.person, book.person.user_id
    list_orders, list_payouts = orders.ListOrders, PayoutsServiceStub(channel).ListPayouts
    list_purchases = ShopServiceStub(channel).ListPurchases
    listed = {order.id: order async for order in _all(list_orders, ListOrdersRequest(), "orders", person)}
    all_payouts = _all(list_payouts, ListPayoutsRequest(show_deleted=True), "payouts", person)
    payouts = {payout.id: payout async for payout in all_payouts}
    all_purchases = _all(list_purchases, ListPurchasesRequest(user_id=user_id), "purchases", person)
    purchases = [purchase async for purchase in all_purchases]
    found = [*_compare_orders(book, listed), *_compare_payouts(book, payouts, provided)]
    found += [f"{user_id}: {problem}" for problem in compare_purchases(book, purchases)]
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
    spent += sum(payout.amount for payout in payouts.values() if payout.status == Payout.COMPLETED)
    spent += sum(purchase.total_price for purchase in purchases if purchase.status == Purchase.COMPLETED)
    held = sum(order.total_price for order in listed.values() if order.status == Order.AUTHORIZED)
    account = await payments.GetAccount(GetAccountRequest(user_id=user_id), metadata=book.person.metadata)
    if account.balance != book.deposited - spent or account.held != held:
        found.append(
            f"{user_id}: deposited {book.deposited}, spent {spent}, {held} to be held, but the balance is "
            f"{account.balance}, {account.held} of it held"
        )
    return found


async def _all(method: Any, request: Any, field: str, person: Person) -> AsyncIterator[Any]:
    """Yields what a method lists in the `field` of its answers, page by page."""
    request.page_size = PAGE_SIZE
    while True:
        page = await method(request, metadata=person.metadata)
        for one in getattr(page, field):
            yield one
        request.page_token = page.next_page_token
        if not request.page_token:
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


def _compare_payouts(book: Book, listed: Mapping[str, Payout], provided: Mapping[str, dict[str, Any]]) -> Iterable[str]:
    for payout_id, asked in book.payouts.items():
        payout = listed.get(payout_id)
        if payout is None:
            yield f"the accepted payout {payout_id} is lost"
        elif (payout.amount, payout.status == Payout.CANCELED) != (asked.amount, asked.deleted):
            yield f"{asked} became {str(payout).replace(chr(10), ' ')}"
        elif not _agree(payout, provided.get(payout_id)):
            yield f"the provider says {provided.get(payout_id)}, we say {str(payout).replace(chr(10), ' ')}"
    for payout_id in listed.keys() - book.payouts.keys():
        yield f"the payout {payout_id} is one too many: each key was answered with another"


def _agree(payout: Payout, entry: Mapping[str, Any] | None) -> bool:
    """Says whether a payout has ended just as the provider's book says."""
    if entry is None:
        return payout.status == Payout.CANCELED
    end = {PAID: Payout.COMPLETED, DECLINED: Payout.FAILED}.get(entry["status"])
    ours = (payout.status, payout.amount, payout.currency, payout.provider_reference, payout.failure_reason)
    return ours == (end, entry["amount"], entry["currency"], entry["reference"], entry["reason"])


async def _compare_databases(stack: Stack, books: Sequence[Book], provided: Mapping[str, dict[str, Any]]) -> list[str]:
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
    if orders["processed"] != orders["noted"]:
        found.append(f"{orders['processed']} orders are processed, but {orders['noted']} times one was")
    bought = sum(purchase.total_price for book in books for purchase in book.purchases.values())
    deposited, spent = sum(book.deposited for book in books), orders["spent"] + bought
    paid_out = sum(entry["amount"] for entry in provided.values() if entry["status"] == PAID)
    wanted = {
        "deposited": deposited,
        "revenue": spent,
        "paid_out": paid_out,
        "balance": deposited - spent - paid_out,
        "held": orders["held"],
        "payouts": sum(len(book.payouts) for book in books),
    }
    if dict(money) != wanted:
        found.append(f"Payments should have {wanted}, but has {dict(money)}")
    return found


_WAITING = {
    "orders without an answer": ("orders", "SELECT count(*) FROM orders WHERE asked_at IS NOT NULL"),
    "refunds without an answer": ("orders", "SELECT count(*) FROM refunds WHERE asked_at IS NOT NULL"),
    "events of Orders": ("orders", "SELECT count(*) FROM outbox"),
    "events of Payments": ("payments", "SELECT count(*) FROM outbox"),
}
"""What is to become nothing: in which database, and how much of it there is."""
_WORK = {
    "orders to process": ("orders", "SELECT count(*) FROM orders WHERE processed_at IS NULL"),
    "payouts to end": ("payments", "SELECT count(*) FROM payouts WHERE status IN ('PENDING', 'PROCESSING')"),
}
_ORDERS = """
    SELECT count(*) AS orders, coalesce(sum(paid_price - refunded_price), 0)::bigint AS spent,
           coalesce(sum(total_price) FILTER (WHERE status = 'AUTHORIZED'), 0)::bigint AS held,
           count(processed_at) AS processed,
           (SELECT count(*) FROM order_changes WHERE cause = 'PROCESSING') AS noted
    FROM orders
"""
_MONEY = """
    SELECT (SELECT -sum(amount)::bigint FROM entries WHERE account = 'funding') AS deposited,
           (SELECT coalesce(sum(amount), 0)::bigint FROM entries WHERE account = 'revenue') AS revenue,
           (SELECT coalesce(sum(amount), 0)::bigint FROM entries WHERE account = 'payouts') AS paid_out,
           (SELECT count(*) FROM payouts) AS payouts,
           sum(balance)::bigint AS balance, sum(held)::bigint AS held
    FROM accounts
"""
