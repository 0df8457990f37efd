"""services.orders.service on a real PostgreSQL and Valkey: what is given back, and never more than that."""

import asyncio

import pytest

from gozon.orders.v1.orders_pb2 import Order
from kit.bus import Bus
from kit.db import Database
from kit.errors import FailedPrecondition, IdempotencyKeyReused, TransitionNotAllowed
from services.orders.domain import RefundTooLarge
from services.orders.service import OrderService
from services.orders.settlement import Settlement
from tests.orders.steps import (
    ADMIN,
    asked,
    order_in,
    owner,
    refund,
    refunded,
)
from tests.support import count, eventually, outbox_of

STATUSES = [Order.PENDING, Order.AUTHORIZED, Order.PAID, Order.SHIPPED, Order.CANCELED]


@pytest.mark.parametrize("status", STATUSES)
async def test_refunds_are_of_what_was_paid_and_is_not_canceled(
    status: Order.Status, service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(status, service, settlement)
    if status not in (Order.PAID, Order.SHIPPED):
        with pytest.raises(TransitionNotAllowed):
            await refund(service, order, 1)
        assert [await count(orders_db, table) for table in ("refunds", "idempotency_keys")] == [0, 0]
        return
    for amount in (600, 400):
        assert (await refund(service, order, amount)).order == order
        with pytest.raises(RefundTooLarge):
            await refund(service, order, 401)
    questions = await asked(orders_db, "orders.refund_requested")
    assert [(q.order_id, q.user_id, q.amount) for q in questions] == [
        (order.id, order.user_id, 600),
        (order.id, order.user_id, 400),
    ]
    await settlement.settle([refunded(question) for question in questions])
    now = await service.get_order(order.id, owner(order))
    assert (now.status, now.refunded_price) == (status, 1000)
    with pytest.raises(RefundTooLarge):
        await refund(service, order, 1)


async def test_refunds_at_once_are_no_more_than_was_paid(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(Order.PAID, service, settlement)
    results = await asyncio.gather(*(refund(service, order, 300) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, RefundTooLarge) for result in results) == 17
    assert await count(orders_db, "refunds") == len(await asked(orders_db, "orders.refund_requested")) == 3


async def test_a_refund_and_a_cancellation_at_once_do_not_both_start_after_each_other(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    for order in [await order_in(Order.PAID, service, settlement) for _ in range(10)]:
        canceled, asked_back = await asyncio.gather(
            service.cancel_order(order.id, owner(order), ""), refund(service, order, 1000), return_exceptions=True
        )
        assert isinstance(canceled, Order)
        assert not isinstance(asked_back, Exception) or isinstance(asked_back, FailedPrecondition)
        questions = [q for q in await asked(orders_db, "orders.refund_requested") if q.order_id == order.id]
        assert bool(questions) != isinstance(asked_back, FailedPrecondition)


async def test_fifty_refunds_with_one_key_are_one(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(Order.PAID, service, settlement)
    results = await asyncio.gather(*(refund(service, order, 300, key="k") for _ in range(50)))
    assert sum(not result.replayed for result in results) == 1
    assert await count(orders_db, "refunds") == 1
    with pytest.raises(IdempotencyKeyReused):
        await refund(service, order, 301, key="k")


async def test_a_refund_waits_for_the_money_and_a_repetition_gets_the_same_answer(
    service: OrderService, settlement: Settlement, orders_db: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.orders.service.ANSWER_SECONDS", 60)
    order = await order_in(Order.SHIPPED, service, settlement)
    refunding = asyncio.create_task(refund(service, order, 300, key="k", caller=ADMIN))

    async def waiting() -> bool:
        return order.id in service._watchers._queues

    await eventually(waiting)
    [question] = await asked(orders_db, "orders.refund_requested")
    before = {message.id for message in await outbox_of(orders_db)}
    await settlement.settle([refunded(question)])
    await bus.publish([m for m in await outbox_of(orders_db) if m.id not in before])
    first = await refunding
    assert (first.replayed, first.order.refunded_price, first.order.status) == (False, 300, Order.SHIPPED)
    again = await refund(service, order, 300, key="k")
    assert (again.replayed, again.order) == (True, first.order)
