"""NATS loses all it had while people shop: what was on its way is asked for again, and everything comes to its end."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import httpx

from stack.home import ADMIN_EMAIL
from tests.bench.people import make_people, sign_in
from tests.bench.stack import address
from tests.chaos.clients import CHANNEL_OPTIONS, Book
from tests.chaos.killer import STORAGE, Killer
from tests.chaos.shoppers import GrpcShopper, RestShopper, Shopper
from tests.chaos.verify import settle, violations
from tests.journeys.conftest import Mortal, half_a_minute_later

PEOPLE = 6
FUNDS = 5_000
THINK_SECONDS = 0.05
ORDERS_BETWEEN = 60


async def test_orders_settle_from_the_databases_when_nats_loses_its_storage_under_load(mortal: Mortal) -> None:
    stack = mortal()
    edge = address(stack, "edge")
    admin = await sign_in(edge, ADMIN_EMAIL, stack.secrets.admin)
    books = [Book(person, FUNDS) for person in await make_people(edge, edge, PEOPLE, FUNDS)]
    killer = Killer(stack, 0, print)
    async with (
        httpx.AsyncClient(base_url=stack.edge_url) as rest,
        grpc.aio.insecure_channel(edge, options=CHANNEL_OPTIONS) as channel,
    ):
        half = PEOPLE // 2
        shoppers: list[Shopper] = [
            *(GrpcShopper(book, admin, book.person.user_id, THINK_SECONDS, channel) for book in books[:half]),
            *(RestShopper(book, admin, book.person.user_id, THINK_SECONDS, rest) for book in books[half:]),
        ]
        stop = asyncio.Event()
        shopping = asyncio.gather(*(shopper.shop(stop) for shopper in shoppers))
        try:
            await _until_bought_more(books, shopping)
            await asyncio.gather(*await killer.kill(STORAGE))
            await _until_bought_more(books, shopping)
        finally:
            stop.set()
        await shopping

    assert all(kill.back_at for kill in killer.kills)
    await half_a_minute_later(stack)
    await settle(stack)
    # Else nothing was lost.
    assert "asked_again" in (stack.home.logs / "orders.log").read_text()
    bought = [order for book in books for order in book.orders.values()]
    for kind in ("manual", "canceled", "shipped", "refunded"):
        assert any(getattr(order, kind) for order in bought), kind
    assert await violations(stack, books) == []


async def _until_bought_more(books: Sequence[Book], shopping: asyncio.Future[Any]) -> None:
    """Waits until some orders more were accepted."""
    enough = sum(len(book.orders) for book in books) + ORDERS_BETWEEN
    while sum(len(book.orders) for book in books) < enough and not shopping.done():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.02)
