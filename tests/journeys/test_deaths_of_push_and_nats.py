"""Instances of push die, and NATS with all it had, while people shop: everything comes to its end and is told once.

One stack for all: what the first test counts is all that there is.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import grpc
import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from stack.home import ADMIN_EMAIL, Stack
from tests.bench.people import make_people, sign_in
from tests.bench.stack import address
from tests.chaos.clients import CHANNEL_OPTIONS, Book
from tests.chaos.killer import STORAGE, Killer
from tests.chaos.shoppers import GrpcShopper, RestShopper, Shopper
from tests.chaos.verify import settle, violations
from tests.conftest import running
from tests.journeys.conftest import Mortal, half_a_minute_later
from tests.push.ear import Message, listening
from tests.support import Edge, User, eventually

PEOPLE = 6
FUNDS = 5_000
THINK_SECONDS = 0.03
BETWEEN = 60
"""Orders between two deaths."""


@pytest.fixture(scope="module")
def stack(mortal: Mortal) -> Stack:
    """A stack that may be killed, with two instances of push."""
    return mortal("--instances", "push=2")


class Customer:
    """Somebody who orders again and again, and whose page is open all the while."""

    def __init__(self, edge: Edge, url: str, user: User) -> None:
        self.user = user
        self.orders: list[str] = []
        self.heard: list[Message] = []
        self.resyncs = 0
        self.connects = 0
        self.known: dict[str, str] = {}
        """Status by order, as a page would show it."""
        self._edge = edge
        self._url = url
        self._last = ""

    async def shop(self, stop: asyncio.Event) -> None:
        """Creates orders."""
        while not stop.is_set():
            created = await self._edge.rest.post("/orders", json={"amount": 10}, headers=self.user.headers)
            if created.status_code == 201:
                self.orders.append(created.json()["id"])
            await asyncio.sleep(THINK_SECONDS)

    async def listen(self) -> None:
        """Keeps a socket open, going on where the last one ended, for ever."""
        while True:
            with suppress(ConnectionClosed, InvalidHandshake, OSError, TimeoutError):
                async with listening(self._url, self.user.token, after=self._last, greeted=False) as ear:
                    self.connects += 1
                    while True:
                        await self._note(await ear.hear())
            await asyncio.sleep(0.1)

    async def _note(self, message: Message) -> None:
        self._last = message["id"]
        if message["type"] == "resync":
            self.resyncs += 1
            # What a page does then: it reads everything anew.
            for order_id in list(self.orders):
                answer = await self._edge.rest.get(f"/orders/{order_id}", headers=self.user.headers)
                self.known[order_id] = answer.json()["status"]
        elif message["type"] in ("order.created", "order.paid"):
            self.heard.append(message)
            self.known[message["data"]["id"]] = message["data"]["status"]

    async def has_heard_of(self, orders: list[str]) -> bool:
        """Says whether this customer was told that these orders are paid."""
        return set(orders) <= {message["data"]["id"] for message in self.heard if message["type"] == "order.paid"}

    async def knows_all_paid(self) -> bool:
        """Says whether this customer knows that all orders are paid."""
        return all(self.known.get(order_id) == "PAID" for order_id in self.orders)


async def test_orders_settle_from_the_databases_when_nats_loses_its_storage_under_load(stack: Stack) -> None:
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
            await _until_bought_more(books)
            await asyncio.gather(*await killer.kill(STORAGE))
            await _until_bought_more(books)
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


async def test_clients_hear_everything_once_and_in_order_while_instances_and_nats_die(stack: Stack) -> None:
    killer = Killer(stack, 0, print)
    async with Edge(running(stack.home.path)) as edge:
        customers = []
        for _ in range(PEOPLE):
            user = await edge.register()
            await edge.deposit(user, 10**9)
            customers.append(Customer(edge, stack.edge_url, user))
        stop = asyncio.Event()
        listening_ones = [asyncio.create_task(customer.listen()) for customer in customers]
        shopping = [asyncio.create_task(customer.shop(stop)) for customer in customers]
        try:
            for victim in ("push", "push-2", "nats"):
                await _until_bought_more(customers)
                await asyncio.gather(*await killer.kill(victim))
            await _until_bought_more(customers)
            for customer in customers:
                # Nobody was told to read anew: all of it came over sockets.
                assert customer.resyncs == 0
                assert customer.connects >= 2
            before = [customer.orders.copy() for customer in customers]
            for customer, orders in zip(customers, before, strict=True):
                await eventually(partial(customer.has_heard_of, orders))
            await asyncio.gather(*await killer.kill(STORAGE))
            await _until_bought_more(customers)
        finally:
            stop.set()
            await asyncio.gather(*shopping)
        await half_a_minute_later(stack)
        for customer in customers:
            await eventually(customer.knows_all_paid, within=90)
        for customer, orders in zip(customers, before, strict=True):
            assert customer.resyncs >= 1
            _assert_told_once_and_in_order(customer, orders)
        for task in listening_ones:
            task.cancel()
        await asyncio.gather(*listening_ones, return_exceptions=True)
    assert {"push", "push-2"} <= stack.home.living().keys()


def _assert_told_once_and_in_order(customer: Customer, settled: list[str]) -> None:
    """Of orders that were settled before NATS lost anything, exactly one message tells each thing, in order."""
    told = Counter((message["data"]["id"], message["type"]) for message in customer.heard)
    assert max(told.values()) == 1
    ids = [message["id"] for message in customer.heard]
    assert len(set(ids)) == len(ids)
    types: dict[str, list[str]] = {}
    for message in customer.heard:
        types.setdefault(message["data"]["id"], []).append(message["type"])
    assert all(types.get(order_id) == ["order.created", "order.paid"] for order_id in settled)


async def _until_bought_more(customers: Sequence[Customer | Book]) -> None:
    enough = sum(len(customer.orders) for customer in customers) + BETWEEN

    async def bought_enough() -> bool:
        return sum(len(customer.orders) for customer in customers) >= enough

    await eventually(bought_enough, within=90)
