"""Two instances of each service, one of each killed under load: hardly anybody notices, and nothing happens twice."""

import asyncio
import os
import signal
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import grpc
import httpx

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, GetOrderRequest, ListOrdersRequest
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from gozon.payments.v1.payments_pb2 import DepositRequest, GetAccountRequest
from gozon.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from gozon.users.v1.users_pb2 import GetMeRequest, RegisterRequest, TokenRequest
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from stack.config import SERVICES
from tests.bench.people import FUNDS, Person, make_people
from tests.bench.stack import address, processes
from tests.chaos.clients import Book, Bought
from tests.chaos.verify import settle, violations
from tests.journeys.conftest import Mortal

CLIENTS_OF_A_KIND = 4
REQUESTS_BETWEEN_KILLS = 300
ALLOWED_FAILURES = 0.01
EMAIL, PASSWORD = "somebody@example.com", "correct horse battery staple"

Send = Callable[[], Awaitable[str]]
"""Sends a request once and returns the id in its answer. Errors: Failed."""


class Failed(Exception):
    """A request got no good answer."""


class Client(ABC):
    """Reads and writes without a pause, and sends a write again, with its idempotency key, until it is answered."""

    def __init__(self, person: Person) -> None:
        self.book = Book(person, FUNDS)
        self.requests = 0
        self.failures: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            order = await self._until_answered(self.create_order)
            assert order not in self.book.orders
            self.book.orders[order] = Bought(1)
            await self._until_answered(self.deposit)
            self.book.deposited += 1
            for read in (lambda order=order: self.get_order(order), self.list_orders, self.get_account, self.get_me):
                await self._once(read)
            if len(self.book.orders) % 5 == 0:
                await self._once(self.sign_in)

    async def _until_answered(self, write: Callable[[str], Awaitable[str]]) -> str:
        key = uuid4().hex
        while (answer := await self._once(lambda: write(key))) is None:  # noqa: ASYNC110 - it is the server's turn
            await asyncio.sleep(0.05)
        return answer

    async def _once(self, send: Send) -> str | None:
        self.requests += 1
        try:
            return await send()
        except Failed as error:
            self.failures.append(str(error))
            return None

    @abstractmethod
    async def create_order(self, key: str) -> str: ...
    @abstractmethod
    async def deposit(self, key: str) -> str: ...
    @abstractmethod
    async def get_order(self, order: str) -> str: ...
    @abstractmethod
    async def list_orders(self) -> str: ...
    @abstractmethod
    async def get_account(self) -> str: ...
    @abstractmethod
    async def get_me(self) -> str: ...
    @abstractmethod
    async def sign_in(self) -> str: ...


class RestClient(Client):
    def __init__(self, person: Person, client: httpx.AsyncClient) -> None:
        super().__init__(person)
        self._client = client

    async def create_order(self, key: str) -> str:
        return await self._send("POST", "/orders", key, json={"amount": 1})

    async def deposit(self, key: str) -> str:
        return await self._send("POST", f"/accounts/{self.book.person.user_id}/deposit", key, json={"amount": 1})

    async def get_order(self, order: str) -> str:
        return await self._send("GET", f"/orders/{order}")

    async def list_orders(self) -> str:
        return await self._send("GET", "/orders?page_size=5")

    async def get_account(self) -> str:
        return await self._send("GET", f"/accounts/{self.book.person.user_id}")

    async def get_me(self) -> str:
        return await self._send("GET", "/users/me")

    async def sign_in(self) -> str:
        form = {"grant_type": "password", "username": EMAIL, "password": PASSWORD}
        return await self._send("POST", "/token", data=form)

    async def _send(self, method: str, path: str, key: str = "", **request: Any) -> str:
        headers = dict(self.book.person.metadata) | ({"idempotency-key": key} if key else {})
        try:
            answer = await self._client.request(method, path, headers=headers, **request)
        except httpx.TransportError as error:
            raise Failed(f"{method} {path.split('/')[1]}: {error!r}") from None
        if not answer.is_success:
            raise Failed(f"{method} {path.split('/')[1]}: {answer.status_code} {answer.text}")
        return str(answer.json().get("id", ""))


class GrpcClient(Client):
    def __init__(self, person: Person, channel: grpc.aio.Channel) -> None:
        super().__init__(person)
        self._users, self._orders = UsersServiceStub(channel), OrdersServiceStub(channel)
        self._payments = PaymentsServiceStub(channel)

    async def create_order(self, key: str) -> str:
        return await self._send(self._orders.CreateOrder, CreateOrderRequest(amount=1), key)

    async def deposit(self, key: str) -> str:
        request = DepositRequest(user_id=self.book.person.user_id, amount=1)
        return await self._send(self._payments.Deposit, request, key)

    async def get_order(self, order: str) -> str:
        return await self._send(self._orders.GetOrder, GetOrderRequest(order_id=order))

    async def list_orders(self) -> str:
        return await self._send(self._orders.ListOrders, ListOrdersRequest(page_size=5))

    async def get_account(self) -> str:
        return await self._send(self._payments.GetAccount, GetAccountRequest(user_id=self.book.person.user_id))

    async def get_me(self) -> str:
        return await self._send(self._users.GetMe, GetMeRequest())

    async def sign_in(self) -> str:
        return await self._send(
            self._users.Token, TokenRequest(grant_type="password", username=EMAIL, password=PASSWORD)
        )

    async def _send(self, method: Any, request: Any, key: str = "") -> str:
        metadata = (*self.book.person.metadata, *((("idempotency-key", key),) if key else ()))
        try:
            answer = await method(request, metadata=metadata, timeout=15)
        except grpc.aio.AioRpcError as error:
            raise Failed(f"{type(request).__name__}: {error.code().name} {error.details()}") from None
        return str(getattr(answer, "id", ""))


async def test_one_of_two_instances_of_each_service_is_killed_under_load(mortal: Mortal) -> None:
    two_of_each = mortal("--instances", ",".join(f"{service}=2" for service in SERVICES))
    edge = address(two_of_each, "edge")
    people = await make_people(edge, edge, 2 * CLIENTS_OF_A_KIND)
    async with (
        httpx.AsyncClient(base_url=two_of_each.edge_url, timeout=15) as rest,
        grpc.aio.insecure_channel(edge) as channel,
    ):
        await UsersServiceStub(channel).Register(RegisterRequest(email=EMAIL, password=PASSWORD))
        clients: list[Client] = [RestClient(person, rest) for person in people[:CLIENTS_OF_A_KIND]]
        clients += [GrpcClient(person, channel) for person in people[CLIENTS_OF_A_KIND:]]
        stop = asyncio.Event()
        load = asyncio.gather(*(client.run(stop) for client in clients))
        try:
            for service in SERVICES:
                await _until_sent_more(clients, load)
                os.kill(processes(two_of_each)[service]["pid"], signal.SIGKILL)
            await _until_sent_more(clients, load)
        finally:
            stop.set()
        await load

    requests = sum(client.requests for client in clients)
    failures = Counter(failure for client in clients for failure in client.failures)
    assert failures.total() <= ALLOWED_FAILURES * requests, f"{failures.total()} of {requests}: {failures}"
    await settle(two_of_each)
    assert await violations(two_of_each, [client.book for client in clients]) == []


async def _until_sent_more(clients: Sequence[Client], load: asyncio.Future[Any]) -> None:
    """Waits until the clients sent some hundred requests more."""
    enough = sum(client.requests for client in clients) + REQUESTS_BETWEEN_KILLS
    while sum(client.requests for client in clients) < enough and not load.done():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.02)
