"""services.orders on a real PostgreSQL: an order is processed once, beside being paid, and asked for when it is not."""

import asyncio
from datetime import UTC, timedelta
from typing import Any

import pytest

from gozon.orders.v1.events_pb2 import ProcessingRequested
from gozon.orders.v1.orders_pb2 import Order, OrderChange
from kit.db import Database, sql
from kit.ids import new_id
from services.orders import repository
from services.orders.domain import OrderNotFound
from services.orders.service import OrderService
from services.orders.settlement import Settlement
from services.orders.sweep import Sweeper
from tests.orders.steps import ADMIN, order_in, owner, paid, pending_order, somebody, told
from tests.support import outbox_of

WORKER = somebody(new_id(), "worker")


def facts_of(order: Order) -> dict[str, Any]:
    """What processing leaves alone."""
    changed = {"processed_at", "updated_at", "etag"}
    return {field.name: value for field, value in order.ListFields() if field.name not in changed}


@pytest.mark.parametrize("status", [Order.PENDING, Order.AUTHORIZED, Order.PAID, Order.SHIPPED, Order.CANCELED])
async def test_an_order_is_processed_whatever_its_status_and_only_that_changes(
    status: Order.Status, service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    # Read, and therefore in the cache if it rests.
    before = await order_in(status, service, settlement)

    processed = await service.mark_order_processed(before.id)

    assert await service.get_order(before.id, WORKER) == processed
    last = (await service.list_history(before.id, ADMIN))[-1]
    assert (last.cause, last.status, last.changed_at) == (OrderChange.PROCESSING, status, processed.processed_at)
    assert int(processed.etag) == int(before.etag) + 1
    assert (await told(orders_db, before))[-1] == ("orders.processed", processed)
    assert facts_of(processed) == facts_of(before)


async def test_of_many_times_the_first_one_counts(service: OrderService, orders_db: Database) -> None:
    order = await pending_order(service)
    answers = await asyncio.gather(*(service.mark_order_processed(order.id) for _ in range(20)))
    assert len({answer.SerializeToString() for answer in answers}) == 1
    causes = [change.cause for change in await service.list_history(order.id, ADMIN)]
    assert causes == [OrderChange.CREATED, OrderChange.PROCESSING]
    assert [subject for subject, _ in await told(orders_db, order)] == ["orders.processed"]


async def test_an_order_that_is_not_there_is_not_processed(service: OrderService) -> None:
    with pytest.raises(OrderNotFound):
        await service.mark_order_processed(new_id())


async def test_processing_and_payment_at_the_same_time_both_happen(
    service: OrderService, settlement: Settlement
) -> None:
    orders = [await pending_order(service) for _ in range(20)]
    await asyncio.gather(
        *(service.mark_order_processed(order.id) for order in orders),
        settlement.settle([paid(order) for order in orders]),
    )
    for order in orders:
        now = await service.get_order(order.id, owner(order))
        assert (now.status, now.HasField("processed_at"), now.etag) == (Order.PAID, True, "3")
        causes = {change.cause for change in await service.list_history(order.id, ADMIN)}
        assert causes == {OrderChange.CREATED, OrderChange.PROCESSING, OrderChange.PAYMENT}


async def test_what_is_not_processed_is_asked_for_again_each_time_after_a_longer_while(
    service: OrderService, orders_db: Database
) -> None:
    waiting, done = await pending_order(service), await pending_order(service)
    await service.mark_order_processed(done.id)
    created = waiting.created_at.ToDatetime(UTC)
    found: list[Any] = []
    for seconds in (59, 61, 100, 121, 123, 240, 247):
        now = created + timedelta(seconds=seconds)
        async with orders_db.transaction() as tx:
            asked_before = now - timedelta(seconds=60)
            found += [(seconds, order.id) for order in await repository.unprocessed(tx, now, asked_before, 100)]
    assert found == [(seconds, waiting.id) for seconds in (61, 123, 247)]


async def test_workers_are_asked_by_an_event(service: OrderService, sweeper: Sweeper, orders_db: Database) -> None:
    order = await pending_order(service)
    async with orders_db.transaction() as tx:
        await tx.execute(sql("UPDATE orders SET created_at = created_at - interval '2 minutes'"))
        await tx.execute(sql("UPDATE orders SET processing_asked_at = created_at"))
    assert await sweeper.sweep_unprocessed() == 1
    assert await sweeper.sweep_unprocessed() == 0
    [question] = [m for m in await outbox_of(orders_db) if m.subject == "orders.processing_requested"]
    requested = ProcessingRequested.FromString(question.payload)
    assert (requested.order_id, requested.user_id) == (order.id, order.user_id)
