"""`gozon check` finds each kind of lie, and none where there is none.

Everything that can happen to orders and money happens once, in a pair of databases; each lie is told in a copy.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import asyncpg
import pytest

from gozon.payouts.v1.payouts_pb2 import Payout
from gozon.shop.v1.shop_pb2 import Product
from services.payments.domain import InsufficientFunds
from services.system.audit.agreement import AGREEMENTS
from services.system.audit.check import Report, check_databases
from services.system.audit.rules import SCANS
from tests.money.world import Users, World, at_work
from tests.stack.conftest import OwnStack
from tests.stack.lies import LIES, UNGUARDED
from tests.stack.shop_lies import SHOP_LIES
from tests.support import RunningStack, fresh_database

RICH, POOR, NOBODY = range(3)
Names = Mapping[str, str]


async def everything_that_can_happen(world: World, users: Users) -> None:
    """Takes orders to each end that there is, on every way."""

    async def order(amount: int = 100, who: int = RICH, *, manual: bool = False) -> tuple[str, str]:
        await world.order(users, who, amount, manual=manual, instance=0)
        return users.orders[-1]

    async def arrive_backwards() -> None:
        await world.collect(users)
        await world.deliver(users, [e for e in reversed(users.pool) if e.id not in users.delivered], 0)
        await world.drain(users)

    await world.deposit(users, RICH, 0, 50_000, 0)
    await world.deposit(users, POOR, 0, 10, 0)
    await order(manual=True)
    await world.drain(users)
    await world.holds_expire(users, 0)
    await order(who=POOR)
    await order(who=NOBODY)
    await order(5, POOR)
    await order()
    shipped, refunded, refunded_whole, canceled, to_refuse = [await order() for _ in range(5)]
    _, held_and_shipped, held_and_canceled, released, captured = [await order(200, manual=True) for _ in range(5)]
    await world.drain(users)
    await world.ship(shipped, 0)
    await world.ship(held_and_shipped, 0)
    await world.refund(refunded, 0, 30, 0)
    await world.refund(refunded, 1, 20, 0)
    await world.refund(refunded_whole, 0, 100, 0)
    await world.refund(canceled, 0, 40, 0)
    await world.cancel(held_and_canceled, 0)
    await world.release(released, 0)
    await world.capture(captured, 120, 0)
    await world.hold((users.ids[RICH], users.no_order), 300, 0)
    for key, status in enumerate((Payout.COMPLETED, Payout.COMPLETED, Payout.FAILED)):
        world.provider[await world.payout(users, RICH, key, 500, 0)] = status
    await world.payout(users, RICH, 3, 500, 0)
    await world.delete_payout(users, 0, 0)
    boost, premium = await world.product(Product.CONSUMABLE), await world.product(Product.PERMANENT)
    for key, (what, quantity) in enumerate(((boost, 3), (boost, 1), (premium, 1))):
        await world.buy(users, RICH, what, quantity, key, 0)
    await world.use(users, RICH, boost, 2, 0, 0)
    with pytest.raises(InsufficientFunds):
        await world.buy(users, POOR, boost, 1, 0, 0)
    await world.drain(users)
    await world.cancel(canceled, 0)
    await world.refund(to_refuse, 0, 50, 0)
    await world.cancel(to_refuse, 0)
    # Payments hears of the cancellation first: it has nothing to give back, and refuses the refund.
    await world.cancel(await order(), 0)
    await arrive_backwards()


@pytest.fixture(scope="module")
async def loaded(stack: RunningStack, templates: dict[str, str]) -> AsyncIterator[Names]:
    """A database of Orders and one of Payments in which everything has happened and nothing is under way."""
    async with AsyncExitStack() as opened:
        names = {}
        for service in SCANS:
            names[service] = await opened.enter_async_context(fresh_database(stack, service, templates[service]))
        async with at_work(stack, names) as world:
            await everything_that_can_happen(world, await world.people())
        # Nobody is connected any more: they can be copied.
        yield names


async def checked(stack: RunningStack, names: Names, stuck_after: float = 0) -> Report:
    urls = {service: f"{stack.superuser_url.rpartition('/')[0]}/{name}" for service, name in names.items()}
    return await check_databases(urls, stuck_after)


def broken(report: Report) -> set[str]:
    return {result.rule for result in report.broken()}


async def test_nothing_that_can_happen_is_a_lie(stack: RunningStack, loaded: Names) -> None:
    report = await checked(stack, loaded)
    assert report.ok, report.broken()
    assert (report.orders, report.payments, report.dead_letters) == (16, 17, 0)
    connection = await asyncpg.connect(stack.url_of("payments", loaded["payments"]))
    kinds = await connection.fetch("SELECT DISTINCT kind FROM transactions")
    ends = await connection.fetch("SELECT DISTINCT status FROM payments")
    refunds = await connection.fetch("SELECT DISTINCT status FROM refunds")
    payouts = await connection.fetch("SELECT DISTINCT status FROM payouts")
    purchases = await connection.fetch("SELECT DISTINCT status FROM purchases")
    await connection.close()
    # Else the lies below would have nothing to lie about.
    assert (len(kinds), len(ends), len(refunds), len(payouts), len(purchases)) == (10, 5, 2, 3, 2)


def test_every_rule_has_its_lie() -> None:
    rules = {rule.name for scans in SCANS.values() for scan in scans for rule in scan.rules}
    assert {rule for rule, _, _ in LIES + SHOP_LIES} == rules | {agreement.name for agreement in AGREEMENTS}


@pytest.mark.parametrize(("rule", "service", "lie"), LIES + SHOP_LIES)
async def test_a_lie_is_found_and_its_row_shown(
    stack: RunningStack, loaded: Names, rule: str, service: str, lie: str
) -> None:
    async with fresh_database(stack, service, loaded[service]) as copy:
        liar = await asyncpg.connect(f"{stack.superuser_url.rpartition('/')[0]}/{copy}")
        await liar.execute(UNGUARDED)
        told = await liar.fetch(lie)
        await liar.close()
        report = await checked(stack, {**loaded, service: copy})
    assert not report.ok
    found = next(result for result in report.results if result.rule == rule)
    named = [{column: row.get(column) for column in told[0].keys()} for row in found.rows]  # noqa: SIM118 - no mapping
    assert dict(told[0]) in named, (told, report.broken())


async def test_what_is_under_way_is_no_lie_until_it_takes_too_long(
    stack: RunningStack, templates: dict[str, str]
) -> None:
    async with AsyncExitStack() as opened:
        names = {s: await opened.enter_async_context(fresh_database(stack, s, templates[s])) for s in SCANS}
        async with at_work(stack, names) as world:
            users = await world.people()
            await world.deposit(users, RICH, 0, 1000, 0)
            await world.payout(users, RICH, 0, 10, 0)
            await world.payouts[0].start_payout(await world.payout(users, RICH, 1, 10, 0))
            for manual in (False, True, True, False):
                await world.order(users, RICH, 100, manual=manual, instance=0)
            await world.order(users, NOBODY, 100, manual=False, instance=0)
            taken, to_ship, to_cancel, *_ = users.orders
            await world.collect(users)
            await world.deliver(users, users.pool[:3], 0)
            await world.collect(users)
            await world.deliver(users, [e for e in users.pool if e.subject.startswith("payments.")], 0)
            await world.ship(to_ship, 0)
            await world.cancel(to_cancel, 0)
            await world.refund(taken, 0, 10, 0)
            # Payments has decided about one more, of which Orders hears later.
            await world.deliver(users, users.pool[3:4], 0)
        assert (await checked(stack, names, stuck_after=60)).ok
        assert broken(await checked(stack, names, stuck_after=0)) == {
            "an order does not stay PENDING",
            "an order that asks for its capture or its reversal gets an answer",
            "a refund does not stay PENDING",
            "a payout comes to its end",
            "events of Orders are published",
            "events of Payments are published",
            "an order and its payment agree",
        }


async def test_dead_letters_are_told_but_are_no_lie(stack: RunningStack, loaded: Names) -> None:
    async with fresh_database(stack, "orders", loaded["orders"]) as copy:
        connection = await asyncpg.connect(stack.url_of("orders", copy))
        await connection.execute("""
            INSERT INTO dead_letters (consumer, event_id, subject, payload, traceparent, error, failures, deliveries,
                                      first_failed_at, died_at)
            VALUES ('orders-settle', '1', 'payments.succeeded', '', '', 'it can not be read', 5, 5, now(), now())
        """)
        await connection.close()
        report = await checked(stack, {**loaded, "orders": copy})
    assert (report.ok, report.dead_letters) == (True, 1)


def test_the_demo_leaves_nothing_to_complain_about(own_stack: OwnStack) -> None:
    demo = own_stack.gozon("demo", "--json")
    assert demo.returncode == 0, demo.stdout
    check = own_stack.gozon("check")
    assert check.returncode == 0, check.stdout
