"""services.orders.sweep on a real PostgreSQL: what Payments does not answer is asked again, or given up."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gozon.orders.v1.orders_pb2 import Order
from kit.db import Database, sql
from services.orders import repository
from services.orders.service import OrderService, Update
from services.orders.settlement import Settlement
from services.orders.sweep import Sweeper
from tests.orders.steps import ADMIN, asked, history_of, order_in, owner, paid, pending_order, refund, refunded, told

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


async def time_passes(database: Database, seconds: float) -> None:
    """Makes everything older."""
    for statement in (
        """UPDATE orders SET created_at = created_at - make_interval(secs => :seconds),
               updated_at = updated_at - make_interval(secs => :seconds),
               asked_at = asked_at - make_interval(secs => :seconds)""",
        """UPDATE refunds SET created_at = created_at - make_interval(secs => :seconds),
               asked_at = asked_at - make_interval(secs => :seconds)""",
    ):
        async with database.transaction() as tx:
            await tx.execute(sql(statement), seconds=seconds)


async def test_what_has_no_answer_is_asked_again_each_time_after_a_longer_while(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    unanswered, answered = await pending_order(service), await order_in(Order.PAID, service, settlement)
    await refund(service, answered, 1)
    created = unanswered.created_at.ToDatetime(UTC)
    orders: list[Any] = []
    refunds: list[Any] = []
    for seconds in (10, 29, 31.5, 32, 60, 64, 100, 131, 250, 263):
        now = created + timedelta(seconds=seconds)
        async with orders_db.transaction() as tx:
            orders += [(seconds, o.id) for o in await repository.unanswered(tx, now, LONG_AGO, 100)]
            refunds += [(seconds, r.order_id) for r in await repository.unanswered_refunds(tx, now, 100)]
    assert orders == [(seconds, unanswered.id) for seconds in (31.5, 64, 131, 263)]
    assert refunds == [(seconds, answered.id) for seconds in (31.5, 64, 131, 263)]


@pytest.mark.parametrize(
    ("status", "subject"),
    [
        (Order.PENDING, "orders.created"),
        (Order.AUTHORIZED, "orders.capture_requested"),
        (Order.CANCELED, "orders.reversal_requested"),
    ],
)
async def test_the_question_follows_from_the_status(
    status: Order.Status,
    subject: str,
    service: OrderService,
    settlement: Settlement,
    sweeper: Sweeper,
    orders_db: Database,
) -> None:
    if status == Order.AUTHORIZED:
        order = await order_in(status, service, settlement)
        # However old the order is, its question is not.
        await time_passes(orders_db, 3600)
        await service.update_order(order.id, ADMIN, Update("SHIPPED"))
    else:
        order = await pending_order(service)
        if status == Order.CANCELED:
            await time_passes(orders_db, 3600)
            await service.cancel_order(order.id, owner(order), "")
    first = await asked(orders_db, subject)
    assert await sweeper.sweep() == 0
    await time_passes(orders_db, 31)
    assert [await sweeper.sweep(), await sweeper.sweep()] == [1, 0]
    again = await asked(orders_db, subject)
    assert [(q.user_id, q.order_id) for q in (*first, *again)] == [(order.user_id, order.id)] * 3


async def test_a_refund_is_asked_for_again_under_the_same_id_until_it_is_answered(
    service: OrderService, settlement: Settlement, sweeper: Sweeper, orders_db: Database
) -> None:
    order = await order_in(Order.PAID, service, settlement)
    await refund(service, order, 300)
    await time_passes(orders_db, 31)
    assert await sweeper.sweep() == 1
    first, again = await asked(orders_db, "orders.refund_requested")
    assert first == again
    await settlement.settle([refunded(again)])
    await time_passes(orders_db, 3600)
    assert await sweeper.sweep() == 0


async def test_what_payments_has_answered_is_not_asked_again(
    service: OrderService, settlement: Settlement, sweeper: Sweeper, orders_db: Database
) -> None:
    for status in (Order.AUTHORIZED, Order.PAID, Order.SHIPPED, Order.CANCELED):
        await order_in(status, service, settlement)
    await time_passes(orders_db, 90_000)
    assert await sweeper.sweep() == 0


async def test_an_order_that_is_pending_for_too_long_expires_and_its_money_is_asked_back(
    service: OrderService, settlement: Settlement, sweeper: Sweeper, orders_db: Database
) -> None:
    old = await pending_order(service)
    await time_passes(orders_db, 1000)
    young = await pending_order(service)
    # It was asked again a moment ago, for the tenth time.
    await time_passes(orders_db, 86_400 - 900)
    async with orders_db.transaction() as tx:
        await tx.execute(sql("UPDATE orders SET asked_at = now() - interval '31 seconds'"))
    await sweeper.sweep()
    expired = await service.get_order(old.id, ADMIN)
    assert (expired.status, expired.cancel_reason, expired.etag) == (Order.CANCELED, Order.EXPIRED, "2")
    assert (await service.get_order(young.id, ADMIN)).status == Order.PENDING
    assert await history_of(service, old) == [("PENDING", "CREATED", 0), ("CANCELED", "EXPIRY", 0)]
    assert await told(orders_db, old) == [("orders.canceled", expired)]
    [asked_back] = await asked(orders_db, "orders.reversal_requested")
    assert (asked_back.order_id, asked_back.total_price) == (old.id, 1000)
    # The answer that comes too late changes nothing: the reversal is on its way.
    await settlement.settle([paid(old)])
    assert await service.get_order(old.id, ADMIN) == expired


async def test_two_sweepers_ask_about_each_order_once(
    service: OrderService, sweeper: Sweeper, orders_db: Database
) -> None:
    orders = await asyncio.gather(*(pending_order(service) for _ in range(50)))
    await time_passes(orders_db, 31)
    await asyncio.gather(*(sweeper.sweep() for _ in range(4)))
    again = [question.order_id for question in await asked(orders_db, "orders.created")]
    assert sorted(again) == sorted(order.id for order in orders for _ in range(2))


async def test_the_sweeper_works_by_itself(service: OrderService, sweeper: Sweeper, orders_db: Database) -> None:
    await pending_order(service)
    await time_passes(orders_db, 31)
    sweeping = asyncio.create_task(sweeper.run())
    while len(await asked(orders_db, "orders.created")) < 2:  # noqa: ASYNC110 - the database has no event to wait for
        await asyncio.sleep(0.01)
    sweeping.cancel()
    await asyncio.wait([sweeping])
