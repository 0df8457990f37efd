"""services.orders.service on a real PostgreSQL and Valkey: orders are accepted once and end once."""

import asyncio

import pytest

from gozon.orders.v1.events_pb2 import OrderCreated
from gozon.orders.v1.orders_pb2 import CreateOrderRequest, Order
from kit.cache import Cache
from kit.db import Database, sql
from kit.errors import IdempotencyKeyReused
from kit.ids import new_id
from kit.telemetry import traceparent
from services.orders.domain import OrderNotFound, TotalMismatch
from services.orders.service import OrderService
from services.orders.settlement import Settlement
from tests.orders.steps import ADMIN, asked_for, create, paid, pending_order, somebody
from tests.support import count, outbox_of


async def test_an_order_is_accepted_and_its_money_asked_for(service: OrderService, orders_db: Database) -> None:
    traceparent.set("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    order = await pending_order(service)
    traceparent.set("")
    assert (order.status, order.total_price, order.currency) == (Order.PENDING, 1000, "RUB")
    assert await service.get_order(order.id, somebody(order.user_id)) == order
    [asked] = await outbox_of(orders_db)
    assert asked.traceparent == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert OrderCreated.FromString(asked.payload) == OrderCreated(
        order_id=order.id,
        user_id=order.user_id,
        total_price=1000,
        currency="RUB",
        created_at=order.created_at,
        capture=Order.AUTOMATIC,
    )


async def test_orders_at_the_same_time_are_written_together_and_answered_each(
    service: OrderService, orders_db: Database
) -> None:
    users = [new_id() for _ in range(50)]
    created = await asyncio.gather(*(create(service, user, amount=n + 1) for n, user in enumerate(users)))
    assert [(c.order.user_id, c.order.total_price) for c in created] == [(u, n + 1) for n, u in enumerate(users)]
    assert await count(orders_db, "orders") == 50
    assert sorted(map(asked_for, await outbox_of(orders_db))) == sorted(c.order.id for c in created)
    async with orders_db.autocommit() as connection:
        transactions = await connection.execute(sql("SELECT count(DISTINCT xmin::text) FROM orders"))
        assert transactions[0][0] < 10


async def test_fifty_requests_with_one_key_make_one_order(service: OrderService, orders_db: Database) -> None:
    user_id = new_id()
    created = await asyncio.gather(*(create(service, user_id, key="k") for _ in range(50)))
    assert sum(not c.replayed for c in created) == 1
    assert len({c.order.SerializeToString(deterministic=True) for c in created}) == 1
    assert (await create(service, user_id, key="k")).replayed
    assert await count(orders_db, "orders") == await count(orders_db, "outbox") == 1


async def test_in_one_batch_only_the_request_that_reuses_a_key_is_refused(
    service: OrderService, orders_db: Database
) -> None:
    user_id = new_id()
    first, other, without, reused = await asyncio.gather(
        create(service, user_id, key="a"),
        create(service, user_id, key="b"),
        create(service, user_id),
        create(service, user_id, key="a", amount=501),
        return_exceptions=True,
    )
    assert isinstance(reused, IdempotencyKeyReused)
    assert not any(isinstance(one, BaseException) for one in (first, other, without))
    assert await count(orders_db, "orders") == 3


async def test_an_order_that_is_refused_leaves_nothing_and_its_key_free(
    service: OrderService, orders_db: Database
) -> None:
    with pytest.raises(TotalMismatch):
        await service.create_order(CreateOrderRequest(amount=500, total_price=499), new_id(), None)
    assert [await count(orders_db, t) for t in ("orders", "outbox", "idempotency_keys")] == [0, 0, 0]


async def test_a_client_that_leaves_during_the_commit_still_has_its_order_and_its_money_is_asked_for(
    service: OrderService, orders_db: Database
) -> None:
    calls = [asyncio.create_task(create(service, new_id())) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await create(service, new_id())
    # All or nothing: whatever was written is asked for.
    assert await count(orders_db, "orders") == await count(orders_db, "outbox")


async def test_only_the_owner_and_admins_see_an_order_whether_it_is_cached_or_not(
    service: OrderService, settlement: Settlement, cache: Cache
) -> None:
    order = await pending_order(service)
    for _ in ("from the database", "from the cache"):
        assert (await service.get_order(order.id, somebody(order.user_id))).id == order.id
        assert (await service.get_order(order.id, ADMIN)).id == order.id
        with pytest.raises(OrderNotFound):
            await service.get_order(order.id, somebody(new_id()))
        await settlement.settle([paid(order)])
        assert await cache.get(f"order:{order.id}")


async def test_a_pending_order_is_not_cached_and_a_settled_one_is(
    service: OrderService, settlement: Settlement, cache: Cache
) -> None:
    order = await pending_order(service)
    await service.get_order(order.id, ADMIN)
    assert await cache.get(f"order:{order.id}") is None
    await settlement.settle([paid(order)])
    cached = await cache.get(f"order:{order.id}")
    assert cached is not None
    assert Order.FromString(cached).status == Order.PAID


async def test_an_order_that_fell_out_of_the_cache_is_read_and_cached_again(
    service: OrderService, cache: Cache, orders_db: Database
) -> None:
    order = await pending_order(service)
    async with orders_db.transaction() as tx:
        await tx.execute(sql("UPDATE orders SET status = 'PAID', asked_at = NULL"))
    assert (await service.get_order(order.id, ADMIN)).status == Order.PAID
    assert await cache.get(f"order:{order.id}") is not None


async def test_garbage_in_the_cache_is_no_order(service: OrderService, cache: Cache) -> None:
    order = await pending_order(service)
    await cache.fill({f"order:{order.id}": b"\xffnonsense"})
    assert await service.get_order(order.id, ADMIN) == order
