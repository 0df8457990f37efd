"""services.orders.service on a real PostgreSQL and Valkey: orders are accepted once and end once."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from gozon.orders.v1.events_pb2 import OrderCanceled, OrderCreated, OrderPaid
from gozon.orders.v1.orders_pb2 import CreateOrderRequest, Order
from kit.cache import Cache
from kit.db import Database, sql
from kit.errors import IdempotencyKeyReused
from kit.events import Event
from kit.ids import new_id
from kit.telemetry import traceparent
from services.orders import repository
from services.orders.domain import OrderNotFound, TotalMismatch
from services.orders.service import OrderService
from services.orders.tables import metadata
from tests.orders.steps import asked_for, create, declined, paid, pending_order, somebody
from tests.support import count, fingerprint, outbox_of

ADMIN = somebody(new_id(), "admin")


async def test_an_order_is_accepted_and_its_money_asked_for(service: OrderService, orders_db: Database) -> None:
    traceparent.set("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    order = await pending_order(service)
    traceparent.set("")
    assert (order.status, order.total_price, order.currency) == (Order.PENDING, 1000, "RUB")
    assert await service.get_order(order.id, somebody(order.user_id)) == order
    [asked] = await outbox_of(orders_db)
    assert asked.traceparent == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert OrderCreated.FromString(asked.payload) == OrderCreated(
        order_id=order.id, user_id=order.user_id, total_price=1000, currency="RUB", created_at=order.created_at
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


async def test_a_paid_order_is_paid_and_told(service: OrderService, orders_db: Database) -> None:
    order = await pending_order(service)
    message = paid(order)
    await service.settle([message])
    now = await service.get_order(order.id, somebody(order.user_id))
    assert (now.status, now.cancel_reason) == (Order.PAID, Order.CANCEL_REASON_UNSPECIFIED)
    assert now.updated_at.ToNanoseconds() > order.updated_at.ToNanoseconds()
    assert (now.items, now.created_at, now.total_price) == (order.items, order.created_at, order.total_price)
    told = (await outbox_of(orders_db))[-1]
    assert (told.subject, told.traceparent) == ("orders.paid", message.traceparent)
    assert OrderPaid.FromString(told.payload).order == now


@pytest.mark.parametrize("reason", ["INSUFFICIENT_FUNDS", "NO_ACCOUNT", "CURRENCY_MISMATCH"])
async def test_a_declined_order_is_canceled_with_its_reason(
    reason: str, service: OrderService, orders_db: Database
) -> None:
    order = await pending_order(service)
    await service.settle([declined(order, reason)])
    now = await service.get_order(order.id, somebody(order.user_id))
    assert (now.status, Order.CancelReason.Name(now.cancel_reason)) == (Order.CANCELED, reason)
    told = (await outbox_of(orders_db))[-1]
    assert told.subject == "orders.canceled"
    assert OrderCanceled.FromString(told.payload).order == now


async def test_duplicates_reorderings_and_replays_change_nothing(service: OrderService, orders_db: Database) -> None:
    dice = random.Random(7)
    orders = [await pending_order(service) for _ in range(60)]
    decisions = [paid(order) if dice.random() < 0.6 else declined(order) for order in orders]
    # Decisions about orders that are not there: of another home, or of a database that was restored.
    decisions += [paid(Order(id=new_id(), user_id=new_id())) for _ in range(5)]
    for start in range(0, len(decisions), 10):
        await service.settle(decisions[start : start + 10])
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
            await service.settle(batch)
    assert await fingerprint(orders_db, metadata, without=["outbox"]) == before
    assert await count(orders_db, "outbox") == told


async def test_two_instances_that_settle_crossing_batches_tell_of_each_order_once(
    service: OrderService, orders_db: Database
) -> None:
    orders = [await pending_order(service) for _ in range(40)]
    dice = random.Random(7)
    batches = [[paid(order) for order in dice.sample(orders, 30)] for _ in range(20)]
    await asyncio.gather(*(service.settle(batch) for batch in batches))
    told = [OrderPaid.FromString(m.payload).order.id for m in await outbox_of(orders_db) if m.subject == "orders.paid"]
    assert len(told) == len(set(told))
    settled = {asked for batch in batches for m in batch if (asked := m.traceparent.removeprefix("trace of "))}
    assert set(told) == settled


async def test_a_reason_that_orders_does_not_know_changes_nothing(service: OrderService, orders_db: Database) -> None:
    order = await pending_order(service)
    message = declined(order)
    unknown = Event(new_id(), message.subject, message.payload.replace(b"\x18\x01", b"\x18\x63"), "")
    assert unknown.payload != message.payload
    with pytest.raises(ValueError, match="99"):
        await service.settle([paid(await pending_order(service)), unknown])
    async with orders_db.autocommit() as connection:
        statuses = await connection.execute(sql("SELECT DISTINCT status FROM orders"))
    assert [row["status"] for row in statuses] == ["PENDING"]


async def test_only_the_owner_and_admins_see_an_order_whether_it_is_cached_or_not(
    service: OrderService, cache: Cache
) -> None:
    order = await pending_order(service)
    for _ in ("from the database", "from the cache"):
        assert (await service.get_order(order.id, somebody(order.user_id))).id == order.id
        assert (await service.get_order(order.id, ADMIN)).id == order.id
        with pytest.raises(OrderNotFound):
            await service.get_order(order.id, somebody(new_id()))
        await service.settle([paid(order)])
        assert await cache.get(f"order:{order.id}")


async def test_a_pending_order_is_not_cached_and_a_settled_one_is(service: OrderService, cache: Cache) -> None:
    order = await pending_order(service)
    await service.get_order(order.id, ADMIN)
    assert await cache.get(f"order:{order.id}") is None
    await service.settle([paid(order)])
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
    await cache.refresh({f"order:{order.id}": b"\xffnonsense"})
    assert await service.get_order(order.id, ADMIN) == order


async def test_orders_without_an_answer_are_asked_about_again_each_time_after_a_longer_while(
    service: OrderService, orders_db: Database
) -> None:
    unanswered, answered = await pending_order(service), await pending_order(service)
    await service.settle([paid(answered)])
    created = unanswered.created_at.ToDatetime(UTC)
    asked = []
    for seconds in (10, 29, 31, 32, 60, 63, 100, 130, 250, 261):
        async with orders_db.transaction() as tx:
            orders = await repository.unanswered(tx, created + timedelta(seconds=seconds), 100)
        asked += [(seconds, order.id) for order in orders]
    assert asked == [(seconds, unanswered.id) for seconds in (31, 63, 130, 261)]


async def test_asking_again_puts_the_same_question_into_a_new_message(
    service: OrderService, orders_db: Database
) -> None:
    order = await pending_order(service)
    async with orders_db.transaction() as tx:
        long_ago = datetime.now(UTC) - timedelta(seconds=40)
        await tx.execute(sql("UPDATE orders SET created_at = :at, asked_at = :at"), at=long_ago)
    sweeper = asyncio.create_task(service.ask_again_now_and_then())
    while len(asked := await outbox_of(orders_db)) < 2:  # noqa: ASYNC110 - the database has no event to wait for
        await asyncio.sleep(0.01)
    sweeper.cancel()
    await asyncio.wait([sweeper])
    assert [asked_for(message) for message in asked] == [order.id] * 2
    assert asked[0].id != asked[1].id
