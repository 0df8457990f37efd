"""People who order, pay and change their minds through the edge, whatever dies, and remember every answer.

They do what a careful client does: a request gets an idempotency key, and is sent again with the same key until it is
answered. So in the end every request was accepted or refused exactly once, and the books can be compared to the last
kopek. What only an admin may do, an admin does for them.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import grpc
import httpx

from gozon.orders.v1.orders_pb2 import (
    CancelOrderRequest,
    CreateOrderRequest,
    Order,
    RefundOrderRequest,
    UpdateOrderRequest,
)
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from gozon.payments.v1.payments_pb2 import DepositRequest
from gozon.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from tests.bench.people import Person
from tests.support import reason_of

T = TypeVar("T")

ATTEMPT_SECONDS = 5.0
PATIENCE_SECONDS = 90.0
"""One request is sent again for at most this long."""
MAX_PRICE = 100
MAX_DEPOSIT = 300
LATELY = 20
"""Minds are changed about one of so many last orders."""
NOT_ALLOWED = frozenset(("TRANSITION_NOT_ALLOWED", "REFUND_TOO_LARGE"))
"""Why what became of an order meanwhile forbids a change."""
CLEAN_CODES = frozenset(
    (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)
)
CLEAN_STATUSES = frozenset((429, 503, 504))
REPLAYED = "idempotency-replayed"
CHANNEL_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))


class Refused(Exception):
    """A request was not accepted; `clean` says whether a client may expect that while something is down."""

    def __init__(self, kind: str, *, clean: bool) -> None:
        super().__init__(kind)
        self.kind = kind
        self.clean = clean


class NotAllowed(Exception):
    """The answer is no, and will stay no."""


@dataclass(slots=True)
class Bought:
    """An accepted order, and which changes of it were accepted."""

    price: int
    manual: bool = False
    shipped: bool = False
    canceled: bool = False
    refunded: int = 0

    @property
    def ends(self) -> frozenset[Order.Status]:
        """What it may be when everything is settled."""
        if self.canceled:
            return frozenset((Order.CANCELED,))
        if self.shipped:
            return frozenset((Order.SHIPPED,))
        return frozenset((Order.AUTHORIZED if self.manual else Order.PAID, Order.CANCELED))


@dataclass(slots=True)
class Book:
    """What one person was told."""

    person: Person
    deposited: int
    orders: dict[str, Bought] = field(default_factory=dict)
    """Every accepted order by id."""
    replays: int = 0
    problems: list[str] = field(default_factory=list)
    """Answers that no outage excuses."""
    refused: list[tuple[float, str]] = field(default_factory=list)
    """When (time.monotonic) and how a request was refused cleanly."""


class Shopper(ABC):
    """Somebody who orders, deposits and changes orders until told to stop."""

    def __init__(self, book: Book, admin: Person, seed: str, think_seconds: float) -> None:
        self.book = book
        self._admin = admin
        self._random = random.Random(seed)
        self._think_seconds = think_seconds

    async def shop(self, stop: asyncio.Event) -> None:
        """Sends requests until `stop`; returns when the last one is answered, or given up as a problem."""
        while not stop.is_set():
            chance = self._random.random()
            if chance < 0.2:
                await self._pay_in(self._random.randint(1, MAX_DEPOSIT))
            elif chance < 0.5 and self.book.orders:
                await self._change_one(self._random.choice(list(self.book.orders)[-LATELY:]))
            else:
                await self._buy(self._random.randint(1, MAX_PRICE), manual=self._random.random() < 0.4)
            await asyncio.sleep(self._random.expovariate(1 / self._think_seconds))

    async def _buy(self, price: int, *, manual: bool) -> None:
        send = partial(self._create_order, uuid4().hex, price, manual)
        answer = await self._until_answered(send)
        if answer is None:
            return
        order_id, _ = answer
        if order_id in self.book.orders:
            self.book.problems.append(f"two requests got the order {order_id}")
        self.book.orders[order_id] = Bought(price, manual)
        # Now and then the same again, as a client does that missed the answer.
        if self._random.random() < 0.1:
            again = await self._until_answered(send)
            if again is not None and again != (order_id, True):
                self.book.problems.append(f"the key of {order_id} sent again gave {again[0]}, replayed {again[1]}")
            self.book.replays += 1

    async def _pay_in(self, amount: int) -> None:
        if await self._once_and_again(partial(self._deposit, uuid4().hex, amount), f"a deposit of {amount}"):
            self.book.deposited += amount

    async def _change_one(self, order_id: str) -> None:
        order = self.book.orders[order_id]
        chance = self._random.random()
        if chance < 0.4:
            amount = self._random.randint(1, order.price)
            send = partial(self._refund, uuid4().hex, order_id, amount)
            if await self._once_and_again(send, f"a refund of {amount} for {order_id}"):
                order.refunded += amount
        elif chance < 0.7:
            # Its money may still be on its way.
            if await self._become(order_id, Order.SHIPPED, Order.AUTHORIZED):
                order.shipped = True
        elif await self._become(order_id, Order.CANCELED):
            order.canceled = True

    async def _become(self, order_id: str, wanted: Order.Status, *others: Order.Status) -> bool:
        status = await self._until_answered(partial(self._update, order_id, wanted))
        if status is None:
            return False
        if status not in (wanted, *others):
            name = Order.Status.Name
            self.book.problems.append(f"{order_id} was to be {name(wanted)}, but the answer was {name(status)}")
        return True

    async def _once_and_again(self, send: Callable[[], Awaitable[bool]], what: str) -> bool:
        """Says whether it was accepted. Now and then it is sent again, which must be noticed."""
        if await self._until_answered(send) is None:
            return False
        if self._random.random() < 0.1:
            if await self._until_answered(send) is False:
                self.book.problems.append(f"{what} with the same key was taken for a new one")
            self.book.replays += 1
        return True

    async def _until_answered(self, send: Callable[[], Awaitable[T]]) -> T | None:
        """Sends until it is accepted; None when it is not allowed, took too long or is nothing to send again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                return await send()
            except NotAllowed:
                return None
            except Refused as refused:
                if not refused.clean:
                    self.book.problems.append(refused.kind)
                    return None
                self.book.refused.append((time.monotonic(), refused.kind))
            await asyncio.sleep(self._random.uniform(0.05, 0.2))
        self.book.problems.append(f"no answer within {PATIENCE_SECONDS:.0f} s")
        return None

    # Errors of all that follow: Refused; NotAllowed for changes of an order.

    @abstractmethod
    async def _create_order(self, key: str, price: int, manual: bool) -> tuple[str, bool]:
        """Returns the order's id and whether the answer is a repeated one."""

    @abstractmethod
    async def _deposit(self, key: str, amount: int) -> bool:
        """Says whether the answer is a repeated one."""

    @abstractmethod
    async def _update(self, order_id: str, status: Order.Status) -> Order.Status:
        """Cancels the order, or has the admin ship it, and returns its status."""

    @abstractmethod
    async def _refund(self, key: str, order_id: str, amount: int) -> bool:
        """Has the admin give back a part, and says whether the answer is a repeated one."""


class GrpcShopper(Shopper):
    """Shops over gRPC."""

    def __init__(self, book: Book, admin: Person, seed: str, think_seconds: float, channel: grpc.aio.Channel) -> None:
        super().__init__(book, admin, seed, think_seconds)
        self._orders = OrdersServiceStub(channel)
        self._payments = PaymentsServiceStub(channel)

    async def _create_order(self, key: str, price: int, manual: bool) -> tuple[str, bool]:
        request = CreateOrderRequest(amount=price, capture=Order.MANUAL if manual else Order.AUTOMATIC)
        order, replayed = await self._call(self._orders.CreateOrder, request, self.book.person, key)
        return order.id, replayed

    async def _deposit(self, key: str, amount: int) -> bool:
        request = DepositRequest(user_id=self.book.person.user_id, amount=amount)
        _, replayed = await self._call(self._payments.Deposit, request, self.book.person, key)
        return replayed

    async def _update(self, order_id: str, status: Order.Status) -> Order.Status:
        order: Order
        if status == Order.CANCELED:
            cancel = CancelOrderRequest(order_id=order_id)
            order, _ = await self._call(self._orders.CancelOrder, cancel, self.book.person)
        else:
            ship = UpdateOrderRequest(order_id=order_id, status=status)
            order, _ = await self._call(self._orders.UpdateOrder, ship, self._admin)
        return order.status

    async def _refund(self, key: str, order_id: str, amount: int) -> bool:
        request = RefundOrderRequest(order_id=order_id, amount=amount)
        _, replayed = await self._call(self._orders.RefundOrder, request, self._admin, key)
        return replayed

    async def _call(self, method: Any, request: Any, person: Person, key: str = "") -> tuple[Any, bool]:
        metadata = (*person.metadata, *((("idempotency-key", key),) if key else ()))
        call = method(request, metadata=metadata, timeout=ATTEMPT_SECONDS)
        try:
            response = await call
            headers = dict(await call.initial_metadata())
        except grpc.aio.AioRpcError as error:
            if reason_of(error) in NOT_ALLOWED:
                raise NotAllowed from None
            kind = f"gRPC {error.code().name}: {error.details()}"
            raise Refused(kind, clean=error.code() in CLEAN_CODES or _is_cut(error)) from None
        return response, headers.get(REPLAYED) == "true"


class RestShopper(Shopper):
    """Shops over REST."""

    def __init__(self, book: Book, admin: Person, seed: str, think_seconds: float, client: httpx.AsyncClient) -> None:
        super().__init__(book, admin, seed, think_seconds)
        self._client = client

    async def _create_order(self, key: str, price: int, manual: bool) -> tuple[str, bool]:
        body = {"amount": price, "capture": "MANUAL" if manual else "AUTOMATIC"}
        order, replayed = await self._send("POST", "/orders", body, self.book.person, key, expected=201)
        return order["id"], replayed

    async def _deposit(self, key: str, amount: int) -> bool:
        path = f"/accounts/{self.book.person.user_id}/deposit"
        _, replayed = await self._send("POST", path, {"amount": amount}, self.book.person, key)
        return replayed

    async def _update(self, order_id: str, status: Order.Status) -> Order.Status:
        if status == Order.CANCELED:
            order, _ = await self._send("POST", f"/orders/{order_id}:cancel", {}, self.book.person)
        else:
            body = {"status": Order.Status.Name(status)}
            order, _ = await self._send("PATCH", f"/orders/{order_id}", body, self._admin)
        return Order(status=order["status"]).status

    async def _refund(self, key: str, order_id: str, amount: int) -> bool:
        _, replayed = await self._send("POST", f"/orders/{order_id}:refund", {"amount": amount}, self._admin, key)
        return replayed

    async def _send(
        self, method: str, path: str, body: dict[str, Any], person: Person, key: str = "", *, expected: int = 200
    ) -> tuple[dict[str, Any], bool]:
        headers = dict(person.metadata) | ({"idempotency-key": key} if key else {})
        try:
            answer = await self._client.request(method, path, json=body, headers=headers, timeout=ATTEMPT_SECONDS)
        except httpx.TransportError as error:
            raise Refused(f"REST {type(error).__name__}: {error}", clean=True) from None
        if answer.status_code != expected:
            message, reason = _error(answer)
            if reason in NOT_ALLOWED:
                raise NotAllowed
            kind = f"REST {answer.status_code}: {message}"
            raise Refused(kind, clean=answer.status_code in CLEAN_STATUSES)
        return answer.json(), answer.headers.get(REPLAYED) == "true"


def _is_cut(error: grpc.aio.AioRpcError) -> bool:
    """Says whether the answer broke off: whoever sent it died after its headers, when no other can be sent instead."""
    return error.code() == grpc.StatusCode.INTERNAL and "RST_STREAM" in (error.details() or "")


def _error(answer: httpx.Response) -> tuple[str, str]:
    """Returns the message and the reason of an error."""
    try:
        body = answer.json()
        return str(body["message"]), str(body["details"][0]["reason"])
    except (ValueError, KeyError, IndexError, TypeError):
        # Every error has the same JSON shape, whoever made it; show what has not.
        return answer.text[:200], ""
