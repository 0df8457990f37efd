"""services.orders.settlement on a real PostgreSQL: the answers of Payments, in any order and however often."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from gozon.orders.v1.events_pb2 import OrderCanceled, OrderPaid
from gozon.orders.v1.orders_pb2 import Order
from kit.db import Connection, Database, Row, Statement, sql
from kit.events import Event
from kit.ids import new_id
from services.orders.service import OrderService, Update
from services.orders.settlement import Settlement
from services.orders.tables import metadata
from tests.orders.steps import (
    ADMIN,
    asked,
    authorized,
    declined,
    history_of,
    impatient,
    order_in,
    owner,
    paid,
    pending_order,
    refund,
    refunded,
    refused,
    released,
    reversed_,
    somebody,
    told,
)
from tests.support import count, fingerprint, outbox_of


async def test_a_paid_order_is_paid_and_told(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await pending_order(service)
    message = paid(order)
    await settlement.settle([message])
    now = await service.get_order(order.id, somebody(order.user_id))
    assert (now.status, now.cancel_reason) == (Order.PAID, Order.CANCEL_REASON_UNSPECIFIED)
    assert now.updated_at.ToNanoseconds() > order.updated_at.ToNanoseconds()
    assert (now.items, now.created_at, now.total_price) == (order.items, order.created_at, order.total_price)
    told = (await outbox_of(orders_db))[-1]
    assert (told.subject, told.traceparent) == ("orders.paid", message.traceparent)
    assert OrderPaid.FromString(told.payload).order == now


@pytest.mark.parametrize("reason", ["INSUFFICIENT_FUNDS", "NO_ACCOUNT", "CURRENCY_MISMATCH"])
async def test_a_declined_order_is_canceled_with_its_reason(
    reason: str, service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await pending_order(service)
    await settlement.settle([declined(order, reason)])
    now = await service.get_order(order.id, somebody(order.user_id))
    assert (now.status, Order.CancelReason.Name(now.cancel_reason)) == (Order.CANCELED, reason)
    told = (await outbox_of(orders_db))[-1]
    assert told.subject == "orders.canceled"
    assert OrderCanceled.FromString(told.payload).order == now


async def test_duplicates_reorderings_and_replays_change_nothing(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    dice = random.Random(7)
    orders = [await pending_order(service) for _ in range(60)]
    decisions = [paid(order) if dice.random() < 0.6 else declined(order) for order in orders]
    # Decisions about orders that are not there: of another home, or of a database that was restored.
    decisions += [paid(Order(id=new_id(), user_id=new_id())) for _ in range(5)]
    for start in range(0, len(decisions), 10):
        await settlement.settle(decisions[start : start + 10])
    before = await fingerprint(orders_db, metadata, without=["outbox"])
    told = await count(orders_db, "outbox")
    for _ in range(3):
        everything = [
            *decisions,
            *(Event(new_id(), m.subject, m.payload, m.traceparent) for m in decisions),
            # Contradictions never come; if they did, the first answer would stand.
            *(declined(order) for order in orders),
            *(paid(order) for order in orders),
        ]
        dice.shuffle(everything)
        while everything:
            size = dice.randrange(1, 50)
            batch, everything = everything[:size], everything[size:]
            await settlement.settle(batch)
    assert await fingerprint(orders_db, metadata, without=["outbox"]) == before
    assert await count(orders_db, "outbox") == told


async def test_two_instances_that_settle_crossing_batches_tell_of_each_order_once(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    orders = [await pending_order(service) for _ in range(40)]
    dice = random.Random(7)
    batches = [[paid(order) for order in dice.sample(orders, 30)] for _ in range(20)]
    await asyncio.gather(*(settlement.settle(batch) for batch in batches))
    told = [OrderPaid.FromString(m.payload).order.id for m in await outbox_of(orders_db) if m.subject == "orders.paid"]
    assert len(told) == len(set(told))
    settled = {asked for batch in batches for m in batch if (asked := m.traceparent.removeprefix("trace of "))}
    assert set(told) == settled


async def test_a_reason_that_orders_does_not_know_changes_nothing(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await pending_order(service)
    message = declined(order)
    unknown = Event(new_id(), message.subject, message.payload.replace(b"\x18\x01", b"\x18\x63"), "")
    assert unknown.payload != message.payload
    with pytest.raises(ValueError, match="99"):
        await settlement.settle([paid(await pending_order(service)), unknown])
    async with orders_db.autocommit() as connection:
        statuses = await connection.execute(sql("SELECT DISTINCT status FROM orders"))
    assert [row["status"] for row in statuses] == ["PENDING"]


ANSWERS: dict[str, Callable[[Order], Event]] = {
    "authorized": authorized,
    "paid": paid,
    "declined": declined,
    "released": released,
    "reversed": lambda order: reversed_(order, 1000),
}
# What an answer makes of an order that Payments has not asked about; every other pair leaves it as it is.
BECOMES = {
    (Order.PENDING, "authorized"): Order.AUTHORIZED,
    (Order.PENDING, "paid"): Order.PAID,
    (Order.PENDING, "declined"): Order.CANCELED,
    (Order.PENDING, "released"): Order.CANCELED,
    (Order.AUTHORIZED, "paid"): Order.PAID,
    (Order.AUTHORIZED, "released"): Order.CANCELED,
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("status", [Order.PENDING, Order.AUTHORIZED, Order.PAID, Order.SHIPPED, Order.CANCELED])
async def test_an_answer_does_what_the_status_allows_once(
    status: Order.Status, answer: str, service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(status, service, settlement)
    before = await told(orders_db, order)
    after = BECOMES.get((status, answer))
    for _ in range(2):
        await settlement.settle([ANSWERS[answer](order), ANSWERS[answer](order)])
        now = await service.get_order(order.id, ADMIN)
        if after is None:
            assert now == order
            assert await told(orders_db, order) == before
        else:
            name = Order.Status.Name(after)
            assert (now.status, int(now.etag)) == (after, int(order.etag) + 1)
            assert (await history_of(service, order))[-1] == (name, "PAYMENT", 0)
            assert await told(orders_db, order) == [*before, (f"orders.{name.lower()}", now)]


async def test_the_order_path_takes_two_statements_to_create_and_two_to_settle(
    service: OrderService, settlement: Settlement, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = []
    execute = Connection.execute

    async def counted(self: Connection, statement: Statement, **parameters: Any) -> list[Row]:
        statements.append(statement.text)
        return await execute(self, statement, **parameters)

    monkeypatch.setattr(Connection, "execute", counted)
    orders = [await pending_order(service)]
    assert len(statements) == 2
    orders += [await pending_order(service) for _ in range(9)]
    statements.clear()
    await settlement.settle([paid(order) for order in orders])
    assert len(statements) == 2


async def test_what_was_taken_is_noted_though_it_was_a_part_of_the_price(
    service: OrderService, settlement: Settlement
) -> None:
    order = await order_in(Order.AUTHORIZED, service, settlement)
    await settlement.settle([paid(order, 400)])
    now = await service.get_order(order.id, ADMIN)
    assert (now.total_price, now.paid_price, now.refunded_price) == (1000, 400, 0)


async def test_an_order_that_was_to_be_shipped_is_shipped_once_its_money_is_captured(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(Order.AUTHORIZED, service, settlement)
    await service.update_order(order.id, impatient(ADMIN), Update("SHIPPED"))
    await settlement.settle([paid(order)])
    now = await service.get_order(order.id, ADMIN)
    assert (now.status, now.paid_price) == (Order.SHIPPED, 1000)
    facts = await told(orders_db, order)
    assert [subject for subject, _ in facts] == ["orders.authorized", "orders.paid", "orders.shipped"]
    assert [one.status for _, one in facts] == [Order.AUTHORIZED, Order.PAID, Order.SHIPPED]
    assert facts[-1][1] == now
    assert await history_of(service, order) == [
        ("PENDING", "CREATED", 0),
        ("AUTHORIZED", "PAYMENT", 0),
        ("AUTHORIZED", "ADMIN", 0),
        ("PAID", "PAYMENT", 0),
        ("SHIPPED", "ADMIN", 0),
    ]
    actors = [change.actor_id for change in await service.list_history(order.id, ADMIN)]
    assert actors == [order.user_id, "", ADMIN.user_id, "", ADMIN.user_id]
    before = await fingerprint(orders_db, metadata, without=["outbox"])
    await settlement.settle([paid(order), released(order), authorized(order)])
    assert await fingerprint(orders_db, metadata, without=["outbox"]) == before


async def test_answers_about_one_order_in_one_batch_are_taken_in_their_sequence(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    orders = [await pending_order(service, capture=Order.MANUAL) for _ in range(12)]
    batch = [answer(order) for order in orders for answer in (released, authorized, authorized, released)]
    random.Random(7).shuffle(batch)
    await settlement.settle(batch)
    for order in orders:
        assert await history_of(service, order) == [
            ("PENDING", "CREATED", 0),
            ("AUTHORIZED", "PAYMENT", 0),
            ("CANCELED", "PAYMENT", 0),
        ]
        facts = await told(orders_db, order)
        assert [subject for subject, _ in facts] == ["orders.authorized", "orders.canceled"]


async def test_what_was_taken_for_a_canceled_order_comes_back_and_is_told_once(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    # Canceled before Orders heard of the payment: the answer comes too late.
    order = await pending_order(service)
    canceled = await service.cancel_order(order.id, owner(order), "")
    await settlement.settle([paid(order)])
    assert await service.get_order(order.id, ADMIN) == canceled
    for _ in range(2):
        await settlement.settle([reversed_(order, 1000), reversed_(order, 1000), paid(order)])
        now = await service.get_order(order.id, ADMIN)
        assert (now.status, now.paid_price, now.refunded_price, now.etag) == (Order.CANCELED, 1000, 1000, "3")
        assert [subject for subject, _ in await told(orders_db, order)] == ["orders.canceled", "orders.refunded"]
    assert await history_of(service, order) == [
        ("PENDING", "CREATED", 0),
        ("CANCELED", "OWNER", 0),
        ("CANCELED", "PAYMENT", 1000),
    ]


async def test_a_reversal_of_nothing_ends_the_waiting_and_is_no_news(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(Order.AUTHORIZED, service, settlement)
    canceled = await service.cancel_order(order.id, owner(order), "")
    facts = await told(orders_db, order)
    await settlement.settle([reversed_(order, 0)])
    assert await service.get_order(order.id, ADMIN) == canceled
    assert await told(orders_db, order) == facts
    async with orders_db.autocommit() as connection:
        [row] = await connection.execute(sql("SELECT asked_at FROM orders"))
    assert row["asked_at"] is None


@pytest.mark.parametrize("together", [True, False])
async def test_refunds_come_back_once_each_in_any_order(
    together: bool, service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(Order.PAID, service, settlement)
    for amount in (100, 250, 400):
        await refund(service, order, amount)
    answers = [refunded(question) for question in await asked(orders_db, "orders.refund_requested")]
    deliveries = [*answers[::-1], *answers]
    for batch in [deliveries] if together else [[answer] for answer in deliveries]:
        await settlement.settle(batch)
    now = await service.get_order(order.id, ADMIN)
    assert (now.status, now.paid_price, now.refunded_price, now.etag) == (Order.PAID, 1000, 750, "5")
    amounts = [amount for _, cause, amount in await history_of(service, order) if cause == "ADMIN"]
    assert sorted(amounts) == [100, 250, 400]
    assert (await told(orders_db, order))[-1] == ("orders.refunded", now)
    [change] = [c for c in await service.list_history(order.id, ADMIN) if c.refunded == 250]
    assert (change.actor_id, change.description, change.status) == (ADMIN.user_id, "broken", Order.PAID)


@pytest.mark.parametrize("first", ["the refund", "the cancellation"])
async def test_a_refund_and_a_cancellation_at_once_give_back_what_was_paid(
    first: str, service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(Order.PAID, service, settlement)
    await refund(service, order, 300)
    await service.cancel_order(order.id, owner(order), "")
    [question] = await asked(orders_db, "orders.refund_requested")
    # Whether the refund was made before the cancellation, or refused after it, is for Payments to say.
    answers = [refunded(question), reversed_(order, 1000)]
    for answer in answers if first == "the refund" else answers[::-1]:
        await settlement.settle([answer])
    now = await service.get_order(order.id, ADMIN)
    assert (now.status, now.paid_price, now.refunded_price) == (Order.CANCELED, 1000, 1000)
    assert sum(amount for _, _, amount in await history_of(service, order)) == 1000
    async with orders_db.autocommit() as connection:
        [row] = await connection.execute(sql("SELECT status FROM refunds"))
    assert row["status"] == "SUCCEEDED"


async def test_a_refund_that_payments_refuses_changes_the_order_in_nothing(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(Order.PAID, service, settlement)
    await refund(service, order, 1000)
    [question] = await asked(orders_db, "orders.refund_requested")
    await settlement.settle([refused(question), refused(question)])
    # The first answer stands, and what was under way can be asked for again.
    await settlement.settle([refunded(question)])
    assert await service.get_order(order.id, ADMIN) == order
    await refund(service, order, 1000)


async def test_the_answers_of_many_orders_in_any_order_end_the_same(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    dice = random.Random(7)
    orders = [await pending_order(service, capture=dice.choice([Order.AUTOMATIC, Order.MANUAL])) for _ in range(40)]
    answers = []
    for number, order in enumerate(orders):
        if order.capture == Order.MANUAL:
            answers += [authorized(order), paid(order) if number % 3 else released(order)]
        else:
            answers.append(paid(order) if number % 3 else declined(order))
        if number % 4 == 0:
            await service.cancel_order(order.id, owner(order), "")
            answers.append(reversed_(order, 1000 if number % 3 else 0))
    ends: set[str] = set()
    for _ in range(3):
        dice.shuffle(answers)
        for start in range(0, len(answers), 7):
            await settlement.settle(answers[start : start + 7])
        ends.add(await fingerprint(orders_db, metadata, without=["outbox"]))
    assert len(ends) == 1
    for number, order in enumerate(orders):
        now = await service.get_order(order.id, ADMIN)
        assert now.status == (Order.PAID if number % 3 and number % 4 else Order.CANCELED)
        assert now.paid_price - now.refunded_price == (1000 if now.status == Order.PAID else 0)
