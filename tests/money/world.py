"""Orders and Payments, two instances each, on databases of their own, with a broker that a test plays."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, Order, RefundOrderRequest
from gozon.payments.v1.payments_pb2 import CreateHoldRequest, DepositRequest
from gozon.payouts.v1.events_pb2 import PayoutRequested
from gozon.payouts.v1.payouts_pb2 import Card, CreatePayoutRequest, Payout, Recipient
from gozon.shop.v1.shop_pb2 import Product, Purchase, PurchaseProductRequest, UseProductRequest
from kit.auth import Identity
from kit.batch import Batcher
from kit.bus import Bus
from kit.cache import Cache
from kit.db import Database, Statement, atomic, sql
from kit.events import Event
from kit.idempotency import key_of
from kit.ids import new_id
from kit.outbox import Outbox
from kit.sealing import Sealer
from services.orders import service as orders_service
from services.orders.cached import CachedOrders
from services.orders.catalog import Catalog
from services.orders.domain import CANCELED, SHIPPED
from services.orders.service import OrderService, Update
from services.orders.settlement import Settlement
from services.orders.sweep import Sweeper
from services.orders.watch import Watchers
from services.payments.domain import RELEASED, CaptureRequest, HoldRequest, ReleaseRequest
from services.payments.goods_cache import CachedInventories, CachedPopularity
from services.payments.payouts_service import PayoutService
from services.payments.service import PaymentService
from services.payments.shop_service import ShopService
from services.system.audit.rules import SCANS
from services.topology import ORDERS_SETTLE, PAYOUT_REQUESTED, PRODUCT_CHANGED
from tests.support import RunningStack, fresh_database

INSTANCES = 2
SEALER = Sealer("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
RECIPIENT = Recipient(type=Recipient.CARD, card=Card(number="4242424242424242"))
ADMIN = Identity(new_id(), frozenset({"admin"}), float("inf"))

TAKE_OUTBOX = sql("DELETE FROM outbox RETURNING id, subject, payload, traceparent")
LONG_AGO = sql("""
    UPDATE orders SET asked_at = asked_at - interval '1 hour', updated_at = updated_at - interval '1 hour'
    WHERE user_id = ANY(:user_ids::uuid[]) AND asked_at IS NOT NULL
""")
REFUNDS_LONG_AGO = sql("""
    UPDATE refunds SET asked_at = asked_at - interval '1 hour', created_at = created_at - interval '1 hour'
    WHERE user_id = ANY(:user_ids::uuid[]) AND asked_at IS NOT NULL
""")
PAYOUTS_LONG_AGO = sql("""
    UPDATE payouts SET asked_at = asked_at - interval '1 hour', updated_at = updated_at - interval '1 hour'
    WHERE user_id = ANY(:user_ids::uuid[]) AND asked_at IS NOT NULL
""")
ORDERS_EXPIRE = sql("""
    UPDATE orders SET created_at = created_at - interval '1 day', asked_at = asked_at - interval '1 day'
    WHERE user_id = ANY(:user_ids::uuid[]) AND status = 'PENDING'
""")
HOLDS_EXPIRE = sql("""
    UPDATE payments SET expires_at = now() - interval '1 second'
    WHERE user_id = ANY(:user_ids::uuid[]) AND status = 'AUTHORIZED'
""")


@dataclass
class Users:
    """The people of one example, and what they know."""

    ids: list[str]
    no_order: str = field(default_factory=new_id)
    """An order that only admins speak of."""
    orders: list[tuple[str, str]] = field(default_factory=list)
    """Pairs of owner and order."""
    payouts: list[tuple[str, str]] = field(default_factory=list)
    """Pairs of owner and payout."""
    pool: list[Event] = field(default_factory=list)
    """All that was ever published."""
    delivered: set[str] = field(default_factory=set)
    deposits: dict[tuple[str, str], int] = field(default_factory=dict)
    """What was asked for, by user and idempotency key."""


async def _nobody_works() -> bool:
    return False


class World:
    """The services; their clients and their broker are the test."""

    def __init__(self, urls: Mapping[str, str], cache: Cache, bus: Bus) -> None:
        """`bus` is only listened to: what is published goes through the hands of the test."""
        self.urls = urls
        """Of the databases, by service."""
        self.orders_db, self.payments_db = orders_db, payments_db = Database(urls["orders"]), Database(urls["payments"])
        cached = CachedOrders(cache)
        self._orders = [
            OrderService(orders_db, Outbox(orders_db, bus), cached, Watchers(bus), Catalog(orders_db))
            for _ in range(INSTANCES)
        ]
        self.catalogs = [Catalog(orders_db) for _ in range(INSTANCES)]
        self.settlements = [Settlement(orders_db, Outbox(orders_db, bus), cached) for _ in range(INSTANCES)]
        self._sweeper = Sweeper(orders_db, Outbox(orders_db, bus), 3600.0, 3600.0, _nobody_works)
        self.payments = [PaymentService(payments_db, Outbox(payments_db, bus)) for _ in range(INSTANCES)]
        self.payouts = [PayoutService(payments_db, Outbox(payments_db, bus), SEALER) for _ in range(INSTANCES)]
        goods, popularity = CachedInventories(cache), CachedPopularity(cache)
        self.shops = [ShopService(payments_db, Outbox(payments_db, bus), goods, popularity) for _ in range(INSTANCES)]
        self.provider: dict[str, Payout.Status] = {}
        """What the payout provider said, and will say again."""
        self._batchers = [asyncio.create_task(batcher.run()) for batcher in self._batching()]

    def _batching(self) -> list[Batcher[Any, Any]]:
        return [*(service.batcher for service in self._orders), *(service.batcher for service in self.shops)]

    async def close(self) -> None:
        """Ends what runs in the background."""
        for batcher in self._batching():
            await batcher.drain()
        await asyncio.gather(*self._batchers)
        await self.orders_db.close()
        await self.payments_db.close()

    async def people(self, accounts: int = 2) -> Users:
        """Returns so many users with an account, and one without."""
        users = Users([new_id() for _ in range(accounts + 1)])
        for user_id in users.ids[:accounts]:
            await self.payments[0].open_account(user_id, "RUB")
        return users

    async def collect(self, users: Users) -> None:
        """Publishes what waits in the outboxes."""
        for database in (self.orders_db, self.payments_db):
            async with database.autocommit() as connection:
                rows = await connection.execute(TAKE_OUTBOX)
            users.pool += [Event(str(row["id"]), row["subject"], row["payload"], row["traceparent"]) for row in rows]

    async def deliver(self, users: Users, events: Sequence[Event], instance: int) -> None:
        """Hands events to an instance of each consumer, in this sequence."""
        asks = [event for event in events if event.subject.startswith("orders.") and _asks(event)]
        answers = [event for event in events if event.subject in ORDERS_SETTLE.subjects]
        if asks:
            await self.payments[instance].answer_orders(asks)
        news = [event for event in events if event.subject == PRODUCT_CHANGED]
        if news:
            await self.catalogs[instance].learn(news)
        if answers:
            await self.settlements[instance].settle(answers)
        for event in events:
            if event.subject == PAYOUT_REQUESTED:
                await self._pay_out(PayoutRequested.FromString(event.payload).payout_id, instance)
        users.delivered.update(event.id for event in events)

    async def drain(self, users: Users) -> None:
        """Delivers everything and sweeps until nothing happens any more."""
        for _ in range(20):
            await self.collect(users)
            left = [event for event in users.pool if event.id not in users.delivered]
            if not left:
                await self._age(users)
                if not await self._sweeper.sweep() + await self.payouts[0].ask_again():
                    return
                continue
            await self.deliver(users, left, 0)
        raise AssertionError("it does not come to rest")

    async def deposit(self, users: Users, who: int, key: int, amount: int, instance: int) -> None:
        """Adds money under one of a few keys."""
        user_id = users.ids[who]
        # A key stands for one request.
        amount = users.deposits.setdefault((user_id, str(key)), amount)
        request = DepositRequest(user_id=user_id, amount=amount)
        await self.payments[instance].deposit(user_id, amount, "", key_of(user_id, "Deposit", str(key), request))

    async def order(self, users: Users, who: int, amount: int, *, manual: bool, instance: int) -> None:
        """Creates an order."""
        capture = Order.MANUAL if manual else Order.AUTOMATIC
        request = CreateOrderRequest(amount=amount, description="tea", capture=capture)
        answered = await self._orders[instance].create_order(request, users.ids[who], None)
        users.orders.append((users.ids[who], answered.order.id))

    async def cancel(self, order: tuple[str, str], instance: int) -> None:
        """The owner cancels an order."""
        owner = Identity(order[0], frozenset({"user"}), float("inf"))
        await self._orders[instance].update_order(order[1], owner, Update(status=CANCELED))

    async def ship(self, order: tuple[str, str], instance: int) -> None:
        """An admin ships an order."""
        await self._orders[instance].update_order(order[1], ADMIN, Update(status=SHIPPED))

    async def refund(self, order: tuple[str, str], key: int, amount: int, instance: int) -> None:
        """An admin gives a part back."""
        request = RefundOrderRequest(order_id=order[1], amount=amount)
        key_ = key_of(ADMIN.user_id, "RefundOrder", f"{order[1]} {key} {amount}", request)
        await self._orders[instance].refund_order(request, ADMIN, key_)

    async def hold(self, order: tuple[str, str], amount: int, instance: int) -> None:
        """An admin holds money for an order, which need not be one of Orders."""
        request = CreateHoldRequest(user_id=order[0], order_id=order[1], amount=amount)
        key = key_of(ADMIN.user_id, "CreateHold", f"{order[1]} {amount}", request)
        await self.payments[instance].create_hold(HoldRequest(*order, amount), key)

    async def capture(self, order: tuple[str, str], amount: int, instance: int) -> None:
        """An admin captures what is held for an order, or a part of it."""
        await self.payments[instance].capture_hold(CaptureRequest(*order, amount))

    async def release(self, order: tuple[str, str], instance: int) -> None:
        """An admin releases what is held for an order."""
        await self.payments[instance].release_hold(ReleaseRequest(*order, RELEASED))

    async def payout(self, users: Users, who: int, key: int, amount: int, instance: int) -> str:
        """Somebody wants money paid out, under one of a few keys; returns the payout's id."""
        user_id = users.ids[who]
        request = CreatePayoutRequest(amount=amount, recipient=RECIPIENT)
        key_ = key_of(user_id, "CreatePayout", f"{key} {amount}", request)
        answered = await self.payouts[instance].create_payout(request, RECIPIENT, user_id, key_)
        users.payouts.append((user_id, answered.payout.id))
        return answered.payout.id

    async def delete_payout(self, users: Users, number: int, instance: int) -> None:
        """The owner of one of the last payouts does not want it any more."""
        if users.payouts:
            user_id, payout_id = users.payouts[-1 - number % len(users.payouts)]
            owner = Identity(user_id, frozenset({"user"}), float("inf"))
            await self.payouts[instance].delete_payout(payout_id, owner, "")

    async def product(self, kind: Product.Type, price: int = 10) -> str:
        """An admin adds a product; returns its id."""
        new = Product(name="Boost", price=price, currency="RUB", type=kind, is_active=True)
        return (await self.shops[0].create_product(new, None)).answer.id

    async def buy(self, users: Users, who: int, product_id: str, quantity: int, key: int, instance: int) -> Purchase:
        """Somebody buys, under one of a few keys."""
        request = PurchaseProductRequest(product_id=product_id, quantity=quantity)
        key_ = key_of(users.ids[who], "PurchaseProduct", f"{key} {product_id} {quantity}", request)
        return (await self.shops[instance].purchase_product(product_id, quantity, users.ids[who], key_)).answer

    async def use(self, users: Users, who: int, product_id: str, quantity: int, key: int, instance: int) -> int:
        """Somebody uses goods up, under one of a few keys; returns how many are left."""
        request = UseProductRequest(product_id=product_id, quantity=quantity)
        key_ = key_of(users.ids[who], "UseProduct", f"{key} {product_id} {quantity}", request)
        return (await self.shops[instance].use_product(product_id, quantity, users.ids[who], key_)).answer.quantity

    async def _pay_out(self, payout_id: str, instance: int) -> None:
        """What a worker does: begins it, has it paid, says what came of it."""
        begun = await self.payouts[instance].start_payout(payout_id)
        if begun.payout.status == Payout.PROCESSING:
            assert begun.recipient == RECIPIENT
            said = self.provider.setdefault(
                payout_id, Payout.FAILED if int(payout_id[-1], 16) % 3 == 0 else Payout.COMPLETED
            )
            outcome = Payout.Status.Name(said)
            await self.payouts[instance].finish_payout(payout_id, outcome, "no such card", "")

    async def holds_expire(self, users: Users, instance: int) -> None:
        """Seven days pass."""
        await self._update(self.payments_db, HOLDS_EXPIRE, users)
        await self.payments[instance]._release_expired()

    async def orders_expire(self, users: Users, _instance: int) -> None:
        """A day passes without an answer."""
        await self._update(self.orders_db, ORDERS_EXPIRE, users)
        await self._sweeper.sweep()

    async def sweep(self, users: Users, _instance: int) -> None:
        """An hour passes without an answer."""
        await self._age(users)
        await self._sweeper.sweep()
        await self.payouts[0].ask_again()

    async def _age(self, users: Users) -> None:
        await self._update(self.orders_db, LONG_AGO, users)
        await self._update(self.orders_db, REFUNDS_LONG_AGO, users)
        await self._update(self.payments_db, PAYOUTS_LONG_AGO, users)

    # Locks rows in any sequence, and may so be the victim of a deadlock with what it races with.
    @atomic
    async def _update(self, database: Database, statement: Statement, users: Users) -> None:
        async with database.autocommit() as connection:
            await connection.execute(statement, user_ids=users.ids)


@asynccontextmanager
async def at_work(stack: RunningStack, names: Mapping[str, str]) -> AsyncIterator[World]:
    """Runs the services on these databases, by service; calls that wait for an answer give up at once."""
    async with AsyncExitStack() as opened:
        opened.enter_context(pytest.MonkeyPatch.context()).setattr(orders_service, "ANSWER_SECONDS", 0.0)
        cache, bus = Cache(stack.redis_url, 60), Bus(stack.nats_url, (), ())
        opened.push_async_callback(cache.close)
        await bus.connect()
        opened.push_async_callback(bus.close)
        world = World({service: stack.url_of(service, name) for service, name in names.items()}, cache, bus)
        opened.push_async_callback(world.close)
        yield world


@asynccontextmanager
async def new_world(stack: RunningStack, templates: Mapping[str, str]) -> AsyncIterator[World]:
    """Does so on empty databases, which are gone afterwards."""
    async with AsyncExitStack() as opened:
        names = {}
        for service in SCANS:
            names[service] = await opened.enter_async_context(fresh_database(stack, service, templates[service]))
        yield await opened.enter_async_context(at_work(stack, names))


def _asks(event: Event) -> bool:
    return event.subject == "orders.created" or event.subject.endswith("_requested")
