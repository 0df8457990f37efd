"""People who buy goods in the shop, use them up, and look at what they own all the while."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar
from uuid import uuid4

import grpc
import httpx
from google.protobuf.json_format import ParseDict

from gozon.shop.v1.shop_pb2 import (
    CreateProductRequest,
    GetInventoryRequest,
    Inventory,
    InventoryItem,
    Product,
    Purchase,
    PurchaseProductRequest,
    UseProductRequest,
)
from gozon.shop.v1.shop_pb2_grpc import ShopServiceStub
from kit.cache import FORGET_SECONDS
from tests.bench.people import Person
from tests.chaos.clients import Book, Change, Client, Refused, call, send

PRODUCTS = (
    *((Product.CONSUMABLE, price) for price in (1, 2, 3, 7, 30)),
    *((Product.PERMANENT, price) for price in (5, 10, 20, 40, 80)),
)
"""What is sold: of which type, for how much."""
MAX_QUANTITY = 3
USED = 0.5
"""After so many purchases something is used."""
AT_ONCE = 0.3
"""So many of those of a PERMANENT product are made twice at the same moment."""
LOOKS = 3
"""So often people look at their goods while they buy once, and once more after each change."""
BURST_SECONDS = 10.0
REST_SECONDS = FORGET_SECONDS + 5.0
"""After a burst of purchases people rest: for half a minute after a change their goods are not cached."""
NO = frozenset((
    "ALREADY_OWNED", "INSUFFICIENT_FUNDS", "INSUFFICIENT_QUANTITY", "NOT_OWNED", "PERMANENT_PRODUCT",
))  # fmt: skip
"""What the shop may say no for."""

Goods = dict[str, int]
"""How many of which product."""
Told = TypeVar("Told", Purchase, InventoryItem)
Reason = str


class Buyer(Client, ABC):
    """Somebody who buys up to so many times per second, until told to stop.

    Nobody else changes this person's goods, and they are changed one after another. So after each answer it is known
    what they are, and what each look at them may show.
    """

    def __init__(self, book: Book, seed: str, per_second: float, products: Sequence[Product]) -> None:
        super().__init__(book, seed)
        self._per_second = per_second
        self._products = products
        self._states: list[Goods] = [{}]
        """What was owned, and after each change that was told."""
        self._changes: list[Change] = []
        """The changes between them."""
        self._maybe: Goods | None = None
        """What is owned if the change that is under way has been made."""

    async def buy(self, stop: asyncio.Event) -> None:
        """Sends requests until `stop`, what an outage delayed at once; returns when the last one is answered."""
        await asyncio.gather(self._change_in_bursts(stop), self._look_on(stop))

    async def _change_in_bursts(self, stop: asyncio.Event) -> None:
        rate = self._per_second * (BURST_SECONDS + REST_SECONDS) / BURST_SECONDS
        due = time.monotonic() + self._random.uniform(0, REST_SECONDS)
        rest_at = due + BURST_SECONDS
        while not await _stopped(stop, due):
            if not await self._purchase(self._random.choice(self._products)):
                return
            if self._random.random() < USED and not await self._use(self._random.choice(self._usable())):
                return
            due += self._random.expovariate(rate)
            if due > rest_at:
                # A whole rest, however long the answers took.
                due = max(due, time.monotonic()) + REST_SECONDS
                rest_at = due + BURST_SECONDS

    async def _look_on(self, stop: asyncio.Event) -> None:
        while not await _stopped(stop, time.monotonic() + self._random.expovariate(LOOKS * self._per_second)):
            await self._look()

    async def _purchase(self, product: Product) -> bool:
        """Says whether it is known how that ended; so do the next two."""
        permanent = product.type == Product.PERMANENT
        owned = self._states[-1].get(product.id, 0)
        quantity = 1 if permanent else self._random.randint(1, MAX_QUANTITY)
        after = {**self._states[-1], product.id: 1 if permanent else owned + quantity}
        requests = 2 if permanent and self._random.random() < AT_ONCE else 1
        buys = [partial(self._buy, uuid4().hex, product.id, quantity) for _ in range(requests)]
        answers = await self._change(after, buys)
        if answers is None:
            return False
        bought = [answer for answer in answers if isinstance(answer, Purchase)]
        for purchase in bought:
            if purchase.id in self.book.purchases:
                self.book.problems.append(f"two requests got the purchase {purchase.id}")
            self.book.purchases[purchase.id] = purchase
            told = (purchase.user_id, purchase.product_id, purchase.quantity, purchase.total_price, purchase.status)
            wanted = (self.book.person.user_id, product.id, quantity, product.price * quantity, Purchase.COMPLETED)
            if told != wanted:
                self.book.problems.append(f"a purchase of {wanted} was answered with {told}")
        if permanent and len(bought) + owned > 1:
            self.book.problems.append(f"the PERMANENT {product.id} was bought {len(bought)} times, with {owned} owned")
        allowed = {"INSUFFICIENT_FUNDS", "ALREADY_OWNED"} if permanent and (owned or bought) else {"INSUFFICIENT_FUNDS"}
        refused = {answer for answer in answers if isinstance(answer, Reason)}
        if not refused <= allowed:
            self.book.problems.append(f"a purchase of {product.id}, with {owned} owned, was refused: {refused}")
        return True

    def _usable(self) -> Sequence[Product]:
        """Now and then everything, whether it is owned or not."""
        owned = [product for product in self._products if product.id in self._states[-1]]
        return self._products if not owned or self._random.random() < 0.2 else owned

    async def _use(self, product: Product) -> bool:
        owned = self._states[-1].get(product.id, 0)
        quantity = self._random.randint(1, MAX_QUANTITY)
        left = owned - quantity
        wanted: int | Reason = left
        if product.type == Product.PERMANENT:
            wanted = "PERMANENT_PRODUCT"
        elif left < 0:
            ever = any(purchase.product_id == product.id for purchase in self.book.purchases.values())
            wanted = "INSUFFICIENT_QUANTITY" if ever else "NOT_OWNED"
        after = {**self._states[-1], product.id: left}
        answers = await self._change(after, [partial(self._use_up, uuid4().hex, product.id, quantity)])
        if answers is None:
            return False
        [answer] = answers
        if isinstance(answer, InventoryItem):
            self.book.uses[product.id] += quantity
        told = answer.quantity if isinstance(answer, InventoryItem) else answer
        if told != wanted:
            self.book.problems.append(f"to use {quantity} of {owned} {product.id} gave {told}, not {wanted}")
        return True

    async def _change(
        self, after: Goods, sends: Sequence[Callable[[], Awaitable[tuple[Told, bool]]]]
    ) -> list[Told | Reason] | None:
        """Sends all at once; at most one of them makes the goods what they are to be `after`. Returns the answers."""
        asked_at = time.time()
        self._maybe = {product_id: quantity for product_id, quantity in after.items() if quantity}
        answers = []
        for answer in await asyncio.gather(*map(self._answer, sends)):
            if answer is None:
                return None
            answers.append(answer)
        if not all(isinstance(answer, Reason) for answer in answers):
            self._states.append(self._maybe)
            self._changes.append(Change(asked_at, time.time()))
        self._maybe = None
        await self._look()
        return answers

    async def _answer(self, send: Callable[[], Awaitable[tuple[Told, bool]]]) -> Told | Reason | None:
        """Returns what was told, or why it was refused; None when there was no answer.

        Now and then what was accepted is sent again, which must be noticed.
        """

        async def ask() -> tuple[Told | Reason, bool]:
            try:
                return await send()
            except Refused as refused:
                if refused.reason not in NO:
                    raise
                return refused.reason, False

        answer = await self.until_answered(ask)
        if answer is None:
            return None
        told, _ = answer
        if not isinstance(told, Reason) and self._random.random() < 0.1:
            again = await self.until_answered(ask)
            if again is not None and again != (told, True):
                self.book.problems.append(f"the key of {told} sent again gave {again[0]}, replayed {again[1]}")
            self.book.replays += 1
        return told

    async def _look(self) -> None:
        """Looks at the goods, which must be what they were at some time between request and answer."""

        async def look() -> tuple[int, Inventory]:
            return len(self._states) - 1, await self._inventory()

        answer = await self.until_answered(look)
        if answer is None:
            return
        began, inventory = answer
        self.book.looks += 1
        shown = {item.product_id: item.quantity for item in inventory.items}
        if shown in self._states[began:] or shown == self._maybe:
            return
        if shown in self._states:
            last = max(number for number, state in enumerate(self._states[:began]) if state == shown)
            self.book.missed.append(self._changes[last:began])
        else:
            which = sorted(shown.items() ^ self._states[-1].items())
            self.book.problems.append(f"an inventory was what it never has been; now it differs in {which}")

    # Errors of all that follow: Refused.

    @abstractmethod
    async def _buy(self, key: str, product_id: str, quantity: int) -> tuple[Purchase, bool]:
        """Returns the purchase and whether the answer is a repeated one."""

    @abstractmethod
    async def _use_up(self, key: str, product_id: str, quantity: int) -> tuple[InventoryItem, bool]:
        """Returns what is left and whether the answer is a repeated one."""

    @abstractmethod
    async def _inventory(self) -> Inventory:
        """Returns the goods."""


class GrpcBuyer(Buyer):
    """Does so over gRPC."""

    def __init__(
        self, book: Book, seed: str, per_second: float, products: Sequence[Product], channel: grpc.aio.Channel
    ) -> None:
        super().__init__(book, seed, per_second, products)
        self._shop = ShopServiceStub(channel)

    async def _buy(self, key: str, product_id: str, quantity: int) -> tuple[Purchase, bool]:
        request = PurchaseProductRequest(product_id=product_id, quantity=quantity)
        return await call(self._shop.PurchaseProduct, request, self.book.person, key)

    async def _use_up(self, key: str, product_id: str, quantity: int) -> tuple[InventoryItem, bool]:
        request = UseProductRequest(product_id=product_id, quantity=quantity)
        return await call(self._shop.UseProduct, request, self.book.person, key)

    async def _inventory(self) -> Inventory:
        inventory: Inventory
        request = GetInventoryRequest(user_id=self.book.person.user_id)
        inventory, _ = await call(self._shop.GetInventory, request, self.book.person)
        return inventory


class RestBuyer(Buyer):
    """Does so over REST."""

    def __init__(
        self, book: Book, seed: str, per_second: float, products: Sequence[Product], client: httpx.AsyncClient
    ) -> None:
        super().__init__(book, seed, per_second, products)
        self._client = client

    async def _buy(self, key: str, product_id: str, quantity: int) -> tuple[Purchase, bool]:
        path, body = f"/products/{product_id}/purchase", {"quantity": quantity}
        purchase, replayed = await send(self._client, "POST", path, body, self.book.person, key, expected=201)
        return ParseDict(purchase, Purchase()), replayed

    async def _use_up(self, key: str, product_id: str, quantity: int) -> tuple[InventoryItem, bool]:
        path, body = f"/products/{product_id}/use", {"quantity": quantity}
        item, replayed = await send(self._client, "POST", path, body, self.book.person, key)
        return ParseDict(item, InventoryItem()), replayed

    async def _inventory(self) -> Inventory:
        path = f"/users/{self.book.person.user_id}/inventory"
        inventory, _ = await send(self._client, "GET", path, None, self.book.person)
        return ParseDict(inventory, Inventory())


async def add_products(admin: Person, channel: grpc.aio.Channel) -> list[Product]:
    """Has the admin add PRODUCTS. Errors: grpc.RpcError."""
    shop = ShopServiceStub(channel)
    requests = [CreateProductRequest(name=f"For {price}", price=price, type=kind) for kind, price in PRODUCTS]
    return [await shop.CreateProduct(request, metadata=admin.metadata) for request in requests]


async def _stopped(stop: asyncio.Event, due: float) -> bool:
    """Waits until it is `due` (time.monotonic) or told to stop, and says whether the latter."""
    if not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), max(0.0, due - time.monotonic()))
        except TimeoutError:
            return False
    return True
