"""All that was ever said is said again, in any sequence, when everybody has forgotten it: nothing changes.

GOZON_SEED=n makes the same history again, as far as things that happen at once allow.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import nats
import pytest

from kit.bus import Bus
from kit.db import Database, sql
from kit.errors import Error
from kit.events import Event
from services.orders import consumer as orders_consumer
from services.orders import domain as orders_domain
from services.orders import tables as orders_tables
from services.payments import consumer as payments_consumer
from services.payments import domain as payments_domain
from services.payments import tables as payments_tables
from services.system.audit.check import check_databases
from services.topology import BALANCE_CHANGED, CONSUMERS, ORDERS_SETTLE, PAYMENTS_CHARGE, REFUND_REQUESTED, STREAMS
from tests.money.invariants import hold_at_rest
from tests.money.world import INSTANCES, Users, World, new_world
from tests.support import NatsServer, RunningStack, count, eventually, fingerprint

SEED = int(os.environ.get("GOZON_SEED", random.randrange(2**32)))
ORDERS = 300
ACCOUNTS = 5
TIMES = 3
DEPOSITS = 50
"""Idempotency keys of one user for them."""
MAX_BATCH = 60
ENVELOPES = 20
PLUMBING = ("inbox", "outbox", "dead_letters")
FACTS = ("orders.authorized", "orders.paid", "orders.shipped", "orders.canceled", "orders.refunded")


@dataclass(frozen=True)
class Past:
    """What happened, to whom, and the chance that made it."""

    world: World
    users: Users
    chance: random.Random

    async def fingerprint(self) -> tuple[str, str]:
        """Returns a hash over all that Orders keeps, and one over all that Payments keeps, but for their plumbing."""
        return (
            await fingerprint(self.world.orders_db, orders_tables.metadata, without=PLUMBING),
            await fingerprint(self.world.payments_db, payments_tables.metadata, without=PLUMBING),
        )

    async def forget(self) -> None:
        """Empties the inbox, as its cleaning does with what was handled eight days ago."""
        async with self.world.payments_db.autocommit() as connection:
            await connection.execute(sql("DELETE FROM inbox"))

    async def deliver(self, events: Iterable[Event]) -> None:
        """Delivers events, shuffled and in batches of any size, by all instances at once."""
        left = list(events)
        self.chance.shuffle(left)
        batches: list[list[Event]] = []
        while left:
            size = self.chance.randint(1, MAX_BATCH)
            batches.append(left[:size])
            left = left[size:]

        async def one_instance(instance: int) -> None:
            while batches:
                await self.world.deliver(self.users, batches.pop(), instance)

        await asyncio.gather(*map(one_instance, range(INSTANCES)))

    def something(self) -> Coroutine[Any, Any, None]:
        """Makes one thing happen, mostly to one of the last orders."""
        world, users, chance = self.world, self.users, self.chance
        instance = chance.randrange(INSTANCES)
        buyer, order = chance.randrange(len(users.ids)), chance.choice(users.orders[-15:])
        price, part, manual = chance.randint(1, 100), chance.randint(1, 40), chance.random() < 0.5
        things: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "order": lambda: world.order(users, buyer, price, manual=manual, instance=instance),
            "deposit": lambda: world.deposit(users, buyer % ACCOUNTS, chance.randrange(DEPOSITS), 5 * price, instance),
            "cancel": lambda: world.cancel(order, instance),
            "ship": lambda: world.ship(order, instance),
            "refund": lambda: world.refund(order, chance.randrange(3), part, instance),
            "hold": lambda: world.hold(order, part, instance),
            "hold_of_nothing": lambda: world.hold((users.ids[0], users.no_order), 1, instance),
            "capture": lambda: world.capture(order, chance.choice((0, part)), instance),
            "release": lambda: world.release(order, instance),
            "sweep": lambda: world.sweep(users, instance),
            "orders_expire": lambda: world.orders_expire(users, instance),
            "holds_expire": lambda: world.holds_expire(users, instance),
        }
        return things[chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]]()

    async def live(self) -> None:
        """Makes hundreds of orders and all that follows, some of it at once, some late, and comes to rest."""
        world, users, chance = self.world, self.users, self.chance
        await world.order(users, 0, 10, manual=False, instance=0)
        while len(users.orders) < ORDERS:
            things = [self.something() for _ in range(chance.randint(1, 6))]
            for outcome in await asyncio.gather(*things, return_exceptions=True):
                if outcome is not None and not isinstance(outcome, Error):
                    raise outcome
            await world.collect(users)
            new = [event for event in users.pool if event.id not in users.delivered]
            # Some come late, some twice.
            await self.deliver([event for event in new if chance.random() < 0.7] + chance.choices(users.pool, k=2))
        await self._live_rarely()
        await world.drain(users)
        await hold_at_rest(world, users)
        report = await check_databases(world.urls, stuck_after=0.0)
        assert report.ok, report.broken()

    async def _live_rarely(self) -> None:
        """Does what chance does too seldom.

        A refund is overtaken by a cancellation, a hold released, one left, and an admin's is not of the order's price.
        """
        world, users = self.world, self.users
        await world.deposit(users, 0, DEPOSITS, 500, 0)
        for price, manual in ((10, False), (10, True), (10, True), (10, False), (10**9, False)):
            await world.order(users, 0, price, manual=manual, instance=0)
        paid, held, _, held_before, _ = users.orders[-5:]
        await world.hold(held_before, 11, 0)
        await world.capture(held_before, 0, 0)
        await world.drain(users)
        await world.release(held, 0)
        await world.refund(paid, 0, 5, 0)
        await world.cancel(paid, 0)
        await world.collect(users)
        left = [event for event in users.pool if event.id not in users.delivered]
        for event in sorted(left, key=lambda event: event.subject == REFUND_REQUESTED):
            await world.deliver(users, [event], 0)


WEIGHTS = {
    "order": 12,
    "deposit": 4,
    "cancel": 4,
    "ship": 6,
    "refund": 8,
    "hold": 2,
    "hold_of_nothing": 0.2,
    "capture": 2,
    "release": 4,
    "sweep": 1,
    "orders_expire": 0.5,
    "holds_expire": 0.3,
}


@pytest.fixture(scope="module")
async def past(stack: RunningStack, templates: dict[str, str]) -> AsyncIterator[Past]:
    """A long and rich history, at rest."""
    async with new_world(stack, templates) as world:
        past = Past(world, await world.people(ACCOUNTS), random.Random(SEED))
        await past.live()
        yield past


async def test_the_history_has_everything(past: Past) -> None:
    # Else the tests below would show less than they say.
    subjects = Counter(event.subject for event in past.users.pool)
    assert subjects.keys() == {*PAYMENTS_CHARGE.subjects, *ORDERS_SETTLE.subjects, *FACTS, BALANCE_CHANGED}, SEED
    orders = await _seen(past.world.orders_db, "SELECT DISTINCT status || cancel_reason FROM orders")
    reasons = ("INSUFFICIENT_FUNDS", "NO_ACCOUNT", "RELEASED", "HOLD_MISMATCH", "REQUESTED", "EXPIRED")
    canceled = {orders_domain.CANCELED + reason for reason in reasons}
    assert orders == {orders_domain.AUTHORIZED, orders_domain.PAID, orders_domain.SHIPPED, *canceled}, SEED
    payments = await _seen(past.world.payments_db, "SELECT DISTINCT status FROM payments")
    domain = payments_domain
    assert payments == {domain.FAILED, domain.AUTHORIZED, domain.CAPTURED, domain.RELEASED, domain.REVERSED}, SEED


@pytest.mark.parametrize("forgotten", [False, True])
async def test_the_whole_history_three_times_more_changes_nothing(past: Past, forgotten: bool) -> None:
    before = await past.fingerprint()
    for _ in range(TIMES):
        if forgotten:
            await past.forget()
        known = len(past.users.pool)
        await past.deliver(past.users.pool)
        await past.world.drain(past.users)
        # What was forgotten is answered again, and the answers came too.
        assert (len(past.users.pool) > known) == forgotten
        assert await past.fingerprint() == before, SEED


async def test_what_nats_no_longer_takes_for_a_duplicate_changes_nothing(
    past: Past, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The shortest there is.
    monkeypatch.setattr("kit.bus.DUPLICATE_WINDOW", 0.1)
    world, users = past.world, past.users
    bus, client = Bus(nats_server.url, STREAMS, CONSUMERS), await nats.connect(nats_server.url)
    await bus.connect()
    consuming = asyncio.gather(
        payments_consumer.consume(bus, world.payments[0], world.payments_db),
        orders_consumer.consume(bus, world.settlements[0], world.orders_db),
    )

    async def stored() -> int:
        infos = [await client.jetstream().stream_info(stream.name) for stream in STREAMS]
        return sum(info.state.messages for info in infos)

    async def publish(events: list[Event]) -> None:
        for start in range(0, len(events), ENVELOPES):
            some = events[start : start + ENVELOPES]
            assert await bus.publish(some) == {event.id for event in some}

    async def nothing_waits() -> bool:
        known = len(users.pool)
        await world.collect(users)
        await publish(users.pool[known:])
        return not any([await bus.lag(consumer) for consumer in CONSUMERS]) and len(users.pool) == known

    before = await past.fingerprint()
    await past.forget()
    everything = list(users.pool)
    past.chance.shuffle(everything)
    await publish(everything)
    await eventually(nothing_waits)
    assert len(users.pool) > len(everything)
    assert await past.fingerprint() == before, SEED

    known, once = len(users.pool), await stored()

    async def stored_again() -> bool:
        await publish(everything)
        return await stored() > once

    await eventually(stored_again)
    await eventually(nothing_waits)
    assert len(users.pool) == known
    assert await past.fingerprint() == before, SEED
    assert [await count(database, "dead_letters") for database in (world.orders_db, world.payments_db)] == [0, 0]

    await bus.stop_consuming()
    await consuming
    await bus.close()
    await client.close()


async def _seen(database: Database, statement: str) -> set[str]:
    async with database.autocommit() as connection:
        return {row[0] for row in await connection.execute(sql(statement))}
