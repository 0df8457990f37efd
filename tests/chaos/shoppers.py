"""People who order, pay and change their minds through the edge; what only an admin may do, an admin does for them."""

import asyncio
from abc import ABC, abstractmethod
from functools import partial
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
from tests.chaos.clients import Book, Bought, Client, call, send

MAX_PRICE = 100
MAX_DEPOSIT = 300
LATELY = 20
"""Minds are changed about one of so many last orders."""


class Shopper(Client, ABC):
    """Somebody who orders, deposits and changes orders until told to stop."""

    def __init__(self, book: Book, admin: Person, seed: str, think_seconds: float) -> None:
        super().__init__(book, seed)
        self._admin = admin
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
        order_id = await self.created(partial(self._create_order, uuid4().hex, price, manual), self.book.orders)
        if order_id is not None:
            self.book.orders[order_id] = Bought(price, manual)

    async def _pay_in(self, amount: int) -> None:
        if await self.once_and_again(partial(self._deposit, uuid4().hex, amount), f"a deposit of {amount}"):
            self.book.deposited += amount

    async def _change_one(self, order_id: str) -> None:
        order = self.book.orders[order_id]
        chance = self._random.random()
        if chance < 0.4:
            amount = self._random.randint(1, order.price)
            refund = partial(self._refund, uuid4().hex, order_id, amount)
            if await self.once_and_again(refund, f"a refund of {amount} for {order_id}"):
                order.refunded += amount
        elif chance < 0.7:
            # Its money may still be on its way.
            if await self._become(order_id, Order.SHIPPED, Order.AUTHORIZED):
                order.shipped = True
        elif await self._become(order_id, Order.CANCELED):
            order.canceled = True

    async def _become(self, order_id: str, wanted: Order.Status, *others: Order.Status) -> bool:
        status = await self.until_answered(partial(self._update, order_id, wanted))
        if status is None:
            return False
        if status not in (wanted, *others):
            name = Order.Status.Name
            self.book.problems.append(f"{order_id} was to be {name(wanted)}, but the answer was {name(status)}")
        return True

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
        order, replayed = await call(self._orders.CreateOrder, request, self.book.person, key)
        return order.id, replayed

    async def _deposit(self, key: str, amount: int) -> bool:
        request = DepositRequest(user_id=self.book.person.user_id, amount=amount)
        _, replayed = await call(self._payments.Deposit, request, self.book.person, key)
        return replayed

    async def _update(self, order_id: str, status: Order.Status) -> Order.Status:
        order: Order
        if status == Order.CANCELED:
            cancel = CancelOrderRequest(order_id=order_id)
            order, _ = await call(self._orders.CancelOrder, cancel, self.book.person)
        else:
            ship = UpdateOrderRequest(order_id=order_id, status=status)
            order, _ = await call(self._orders.UpdateOrder, ship, self._admin)
        return order.status

    async def _refund(self, key: str, order_id: str, amount: int) -> bool:
        request = RefundOrderRequest(order_id=order_id, amount=amount)
        _, replayed = await call(self._orders.RefundOrder, request, self._admin, key)
        return replayed


class RestShopper(Shopper):
    """Shops over REST."""

    def __init__(self, book: Book, admin: Person, seed: str, think_seconds: float, client: httpx.AsyncClient) -> None:
        super().__init__(book, admin, seed, think_seconds)
        self._client = client

    async def _create_order(self, key: str, price: int, manual: bool) -> tuple[str, bool]:
        body = {"amount": price, "capture": "MANUAL" if manual else "AUTOMATIC"}
        order, replayed = await send(self._client, "POST", "/orders", body, self.book.person, key, expected=201)
        return order["id"], replayed

    async def _deposit(self, key: str, amount: int) -> bool:
        path = f"/accounts/{self.book.person.user_id}/deposit"
        _, replayed = await send(self._client, "POST", path, {"amount": amount}, self.book.person, key)
        return replayed

    async def _update(self, order_id: str, status: Order.Status) -> Order.Status:
        if status == Order.CANCELED:
            order, _ = await send(self._client, "POST", f"/orders/{order_id}:cancel", {}, self.book.person)
        else:
            body = {"status": Order.Status.Name(status)}
            order, _ = await send(self._client, "PATCH", f"/orders/{order_id}", body, self._admin)
        return Order(status=order["status"]).status

    async def _refund(self, key: str, order_id: str, amount: int) -> bool:
        path = f"/orders/{order_id}:refund"
        _, replayed = await send(self._client, "POST", path, {"amount": amount}, self._admin, key)
        return replayed
