"""People who order and pay through the edge, whatever dies, and remember every answer.

They do what a careful client does: a request gets an idempotency key, and is sent again with the same key until it is
answered. So in the end every request was accepted exactly once, and the books can be compared to the last kopek.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import uuid4

import grpc
import httpx

from gozon.orders.v1.orders_pb2 import CreateOrderRequest
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from gozon.payments.v1.payments_pb2 import DepositRequest
from gozon.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from tests.bench.people import Person

ATTEMPT_SECONDS = 5.0
PATIENCE_SECONDS = 90.0
"""One request is sent again for at most this long."""
MAX_PRICE = 100
MAX_DEPOSIT = 300
CLEAN_CODES = frozenset(
    (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)
)
CLEAN_STATUSES = frozenset((429, 503, 504))
REPLAYED = "idempotency-replayed"
CHANNEL_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))


Send: TypeAlias = Callable[[str, int], Awaitable[tuple[str, bool]]]


class Refused(Exception):
    """A request was not accepted; `clean` says whether a client may expect that while something is down."""

    def __init__(self, kind: str, *, clean: bool) -> None:
        super().__init__(kind)
        self.kind = kind
        self.clean = clean


@dataclass(slots=True)
class Book:
    """What one person was told."""

    person: Person
    deposited: int
    orders: dict[str, int] = field(default_factory=dict)
    """Price by id of every accepted order."""
    replays: int = 0
    problems: list[str] = field(default_factory=list)
    """Answers that no outage excuses."""
    refused: list[tuple[float, str]] = field(default_factory=list)
    """When (time.monotonic) and how a request was refused cleanly."""


class Shopper(ABC):
    """Somebody who orders and deposits until told to stop."""

    def __init__(self, book: Book, seed: str, think_seconds: float) -> None:
        self.book = book
        self._random = random.Random(seed)
        self._think_seconds = think_seconds

    async def shop(self, stop: asyncio.Event) -> None:
        """Sends requests until `stop`; returns when the last one is answered, or given up as a problem."""
        while not stop.is_set():
            if self._random.random() < 0.2:
                await self._pay_in(self._random.randint(1, MAX_DEPOSIT))
            else:
                await self._buy(self._random.randint(1, MAX_PRICE))
            await asyncio.sleep(self._random.expovariate(1 / self._think_seconds))

    async def _buy(self, price: int) -> None:
        key = uuid4().hex
        answer = await self._until_answered(self._create_order, key, price)
        if answer is None:
            return
        order_id, _ = answer
        if order_id in self.book.orders:
            self.book.problems.append(f"two requests got the order {order_id}")
        self.book.orders[order_id] = price
        # Now and then the same again, as a client does that missed the answer.
        if self._random.random() < 0.1:
            again = await self._until_answered(self._create_order, key, price)
            if again is not None and again != (order_id, True):
                self.book.problems.append(f"the key of {order_id} sent again gave {again[0]}, replayed {again[1]}")
            self.book.replays += 1

    async def _pay_in(self, amount: int) -> None:
        key = uuid4().hex
        if await self._until_answered(self._deposit, key, amount) is None:
            return
        self.book.deposited += amount
        if self._random.random() < 0.1:
            again = await self._until_answered(self._deposit, key, amount)
            if again is not None and not again[1]:
                self.book.problems.append(f"a deposit of {amount} with the same key was taken for a new one")
            self.book.replays += 1

    async def _until_answered(self, send: Send, key: str, amount: int) -> tuple[str, bool] | None:
        """Sends until it is accepted; None when that took too long or the answer is none to send again for."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                return await send(key, amount)
            except Refused as refused:
                if not refused.clean:
                    self.book.problems.append(refused.kind)
                    return None
                self.book.refused.append((time.monotonic(), refused.kind))
            await asyncio.sleep(self._random.uniform(0.05, 0.2))
        self.book.problems.append(f"no answer within {PATIENCE_SECONDS:.0f} s")
        return None

    @abstractmethod
    async def _create_order(self, key: str, price: int) -> tuple[str, bool]:
        """Returns the order's id and whether the answer is a repeated one. Errors: Refused."""

    @abstractmethod
    async def _deposit(self, key: str, amount: int) -> tuple[str, bool]:
        """Returns the account's id and whether the answer is a repeated one. Errors: Refused."""


class GrpcShopper(Shopper):
    """Shops over gRPC."""

    def __init__(self, book: Book, seed: str, think_seconds: float, channel: grpc.aio.Channel) -> None:
        super().__init__(book, seed, think_seconds)
        self._orders = OrdersServiceStub(channel)
        self._payments = PaymentsServiceStub(channel)

    async def _create_order(self, key: str, price: int) -> tuple[str, bool]:
        request = CreateOrderRequest(amount=price)
        order, replayed = await self._call(self._orders.CreateOrder(request, **self._with(key)))
        return order.id, replayed

    async def _deposit(self, key: str, amount: int) -> tuple[str, bool]:
        request = DepositRequest(user_id=self.book.person.user_id, amount=amount)
        account, replayed = await self._call(self._payments.Deposit(request, **self._with(key)))
        return account.user_id, replayed

    def _with(self, key: str) -> dict[str, Any]:
        metadata = (*self.book.person.metadata, ("idempotency-key", key))
        return {"metadata": metadata, "timeout": ATTEMPT_SECONDS}

    async def _call(self, call: Any) -> tuple[Any, bool]:
        try:
            response = await call
            headers = dict(await call.initial_metadata())
        except grpc.aio.AioRpcError as error:
            kind = f"gRPC {error.code().name}: {error.details()}"
            raise Refused(kind, clean=error.code() in CLEAN_CODES or _is_cut(error)) from None
        return response, headers.get(REPLAYED) == "true"


class RestShopper(Shopper):
    """Shops over REST."""

    def __init__(self, book: Book, seed: str, think_seconds: float, client: httpx.AsyncClient) -> None:
        super().__init__(book, seed, think_seconds)
        self._client = client

    async def _create_order(self, key: str, price: int) -> tuple[str, bool]:
        answer = await self._post("/orders", key, {"amount": price}, 201)
        return answer.json()["id"], answer.headers.get(REPLAYED) == "true"

    async def _deposit(self, key: str, amount: int) -> tuple[str, bool]:
        answer = await self._post(f"/accounts/{self.book.person.user_id}/deposit", key, {"amount": amount}, 200)
        return answer.json()["user_id"], answer.headers.get(REPLAYED) == "true"

    async def _post(self, path: str, key: str, body: dict[str, int], expected: int) -> httpx.Response:
        headers = {**dict(self.book.person.metadata), "idempotency-key": key}
        try:
            answer = await self._client.post(path, json=body, headers=headers, timeout=ATTEMPT_SECONDS)
        except httpx.TransportError as error:
            raise Refused(f"REST {type(error).__name__}: {error}", clean=True) from None
        if answer.status_code != expected:
            kind = f"REST {answer.status_code}: {_message(answer)}"
            raise Refused(kind, clean=answer.status_code in CLEAN_STATUSES)
        return answer


def _is_cut(error: grpc.aio.AioRpcError) -> bool:
    """Says whether the answer broke off: whoever sent it died after its headers, when no other can be sent instead."""
    return error.code() == grpc.StatusCode.INTERNAL and "RST_STREAM" in (error.details() or "")


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        # Every error has the same JSON shape, whoever made it; show what has not.
        return answer.text[:200]
