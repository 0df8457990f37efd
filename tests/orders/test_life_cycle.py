"""services.orders.service on a real PostgreSQL and Valkey: what people do with orders, and what becomes of them."""

import asyncio
import itertools
from typing import Any

import pytest

from gozon.orders.v1.orders_pb2 import Order, OrderChange
from kit.bus import Bus
from kit.cache import Cache
from kit.db import Database, sql
from kit.errors import PermissionDenied, StaleEtag, TransitionNotAllowed
from kit.ids import new_id
from services.orders.domain import OrderNotFound, TooManyChanges
from services.orders.service import OrderService, Update
from services.orders.settlement import Settlement
from services.orders.sweep import Sweeper
from services.orders.tables import metadata
from services.orders.watch import TooManyWatchers
from tests.orders.steps import (
    ADMIN,
    asked,
    authorized,
    history_of,
    impatient,
    order_in,
    owner,
    paid,
    pending_order,
    refund,
    refunded,
    released,
    reversed_,
    somebody,
    told,
)
from tests.support import eventually, fingerprint, outbox_of

STATUSES = [Order.PENDING, Order.AUTHORIZED, Order.PAID, Order.SHIPPED, Order.CANCELED]
NEVER = {
    "ship": (Order.PENDING, Order.CANCELED),
    "cancel": (Order.SHIPPED,),
    "describe": (Order.SHIPPED, Order.CANCELED),
}
UPDATES = {"ship": Update("SHIPPED"), "cancel": Update("CANCELED"), "describe": Update(description="other")}


@pytest.mark.parametrize(("what", "status"), [(what, status) for what in NEVER for status in NEVER[what]])
async def test_what_a_status_does_not_allow_changes_nothing(
    what: str, status: Order.Status, service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(status, service, settlement)
    before = await fingerprint(orders_db, metadata, without=[])
    with pytest.raises(TransitionNotAllowed, match=Order.Status.Name(status)):
        await service.update_order(order.id, ADMIN, UPDATES[what])
    assert await fingerprint(orders_db, metadata, without=[]) == before


@pytest.mark.parametrize("status", [Order.PENDING, Order.AUTHORIZED, Order.PAID])
async def test_an_order_is_canceled_once_told_once_and_all_of_it_asked_back(
    status: Order.Status, service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(status, service, settlement)
    canceled = await service.cancel_order(order.id, owner(order), order.etag)
    assert (canceled.status, canceled.cancel_reason) == (Order.CANCELED, Order.REQUESTED)
    assert int(canceled.etag) == int(order.etag) + 1
    assert (canceled.paid_price, canceled.refunded_price) == (order.paid_price, 0)
    assert await service.cancel_order(order.id, owner(order), "") == canceled
    assert await service.get_order(order.id, owner(order)) == canceled
    assert (await told(orders_db, order))[-1] == ("orders.canceled", canceled)
    [question] = await asked(orders_db, "orders.reversal_requested")
    assert (question.user_id, question.order_id) == (order.user_id, order.id)
    assert (question.total_price, question.currency) == (1000, "RUB")
    assert (await history_of(service, order))[-1] == ("CANCELED", "OWNER", 0)


async def test_a_paid_order_is_shipped_by_an_admin_at_once(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(Order.PAID, service, settlement)
    with pytest.raises(PermissionDenied):
        await service.update_order(order.id, owner(order), UPDATES["ship"])
    shipped = await service.update_order(order.id, ADMIN, UPDATES["ship"])
    assert (shipped.status, shipped.etag) == (Order.SHIPPED, "3")
    assert await service.update_order(order.id, ADMIN, UPDATES["ship"]) == shipped
    assert await service.get_order(order.id, owner(order)) == shipped
    assert [subject for subject, _ in await told(orders_db, order)] == ["orders.paid", "orders.shipped"]
    last = (await service.list_history(order.id, owner(order)))[-1]
    assert (last.status, last.cause, last.actor_id) == (Order.SHIPPED, OrderChange.ADMIN, ADMIN.user_id)


async def test_an_admin_who_owns_an_order_ships_it_as_an_admin(service: OrderService, settlement: Settlement) -> None:
    order = await pending_order(service, ADMIN.user_id)
    await settlement.settle([paid(order)])
    await service.update_order(order.id, ADMIN, Update(description="mine"))
    await service.update_order(order.id, ADMIN, UPDATES["ship"])
    causes = [cause for _, cause, _ in await history_of(service, order)]
    assert causes == ["CREATED", "PAYMENT", "OWNER", "ADMIN"]


@pytest.mark.parametrize(("answer", "status"), [(paid, Order.SHIPPED), (released, Order.CANCELED)])
async def test_shipping_what_is_held_waits_for_the_capture(
    answer: Any,
    status: Order.Status,
    service: OrderService,
    settlement: Settlement,
    orders_db: Database,
    bus: Bus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.orders.service.ANSWER_SECONDS", 60)
    order = await order_in(Order.AUTHORIZED, service, settlement)
    shipping = [asyncio.create_task(service.update_order(order.id, ADMIN, UPDATES["ship"])) for _ in range(2)]

    async def waiting() -> bool:
        return len(service._watchers._queues.get(order.id, ())) == 2

    await eventually(waiting)
    [question] = await asked(orders_db, "orders.capture_requested")
    assert (question.user_id, question.order_id) == (order.user_id, order.id)
    before = {message.id for message in await outbox_of(orders_db)}
    await settlement.settle([answer(order)])
    await bus.publish([m for m in await outbox_of(orders_db) if m.id not in before])
    for one in await asyncio.gather(*shipping, return_exceptions=True):
        if status == Order.CANCELED:
            assert isinstance(one, TransitionNotAllowed)
        else:
            assert isinstance(one, Order)
            assert (one.status, one.paid_price) == (Order.SHIPPED, 1000)
    assert (await service.get_order(order.id, ADMIN)).status == status


async def test_shipping_what_is_held_does_not_wait_for_long(
    service: OrderService, settlement: Settlement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.orders.service.ANSWER_SECONDS", 0.05)
    order = await order_in(Order.AUTHORIZED, service, settlement)
    answered = await service.update_order(order.id, ADMIN, UPDATES["ship"])
    assert answered.status == Order.AUTHORIZED
    assert not service._watchers._queues


async def test_an_admin_who_watches_too_much_ships_all_the_same(
    service: OrderService, settlement: Settlement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.orders.watch.PER_USER", 0)
    order = await order_in(Order.AUTHORIZED, service, settlement)
    with pytest.raises(TooManyWatchers):
        await anext(service.watch_order(order.id, ADMIN))
    assert (await service.update_order(order.id, ADMIN, UPDATES["ship"])).status == Order.AUTHORIZED
    await settlement.settle([paid(order)])
    assert (await service.get_order(order.id, ADMIN)).status == Order.SHIPPED


async def test_canceling_while_the_capture_is_under_way_asks_for_the_reversal(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(Order.AUTHORIZED, service, settlement)
    await service.update_order(order.id, impatient(ADMIN), UPDATES["ship"])
    canceled = await service.cancel_order(order.id, owner(order), "")
    await settlement.settle([paid(order)])
    assert await service.get_order(order.id, ADMIN) == canceled
    await settlement.settle([reversed_(order, 1000)])
    now = await service.get_order(order.id, ADMIN)
    assert (now.status, now.paid_price, now.refunded_price) == (Order.CANCELED, 1000, 1000)
    assert len(await asked(orders_db, "orders.reversal_requested")) == 1


@pytest.mark.parametrize("status", [Order.PENDING, Order.AUTHORIZED, Order.PAID])
async def test_the_description_changes_until_the_end_and_nothing_else_does(
    status: Order.Status, service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(status, service, settlement)
    messages = await outbox_of(orders_db)
    changed = await service.update_order(order.id, owner(order), UPDATES["describe"])
    assert changed.description == "other"
    assert int(changed.etag) == int(order.etag) + 1
    assert await service.get_order(order.id, owner(order)) == changed
    # What is so already is no change.
    for same in (UPDATES["describe"], Update()):
        assert await service.update_order(order.id, owner(order), same) == changed
    assert await outbox_of(orders_db) == messages
    last = (await service.list_history(order.id, owner(order)))[-1]
    assert (last.status, last.cause, last.description) == (status, OrderChange.OWNER, "other")
    # Payments is asked again as before.
    await settlement.settle([paid(order)])
    settled = await service.get_order(order.id, owner(order))
    assert (settled.status, settled.description) == (Order.PAID, "other")


async def test_what_may_be_repeated_for_ever_has_an_end_and_the_order_is_still_shipped(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(Order.PAID, service, settlement)
    async with orders_db.autocommit() as connection:
        await connection.execute(sql("UPDATE orders SET version = 300"))
    with pytest.raises(TooManyChanges):
        await service.update_order(order.id, owner(order), UPDATES["describe"])
    with pytest.raises(TooManyChanges):
        await refund(service, order, 1)
    assert (await service.update_order(order.id, ADMIN, UPDATES["ship"])).status == Order.SHIPPED


async def test_status_and_description_change_together(service: OrderService, settlement: Settlement) -> None:
    order = await order_in(Order.PAID, service, settlement)
    shipped = await service.update_order(order.id, ADMIN, Update("SHIPPED", "by rail", order.etag))
    assert (shipped.status, shipped.description, shipped.etag) == (Order.SHIPPED, "by rail", "3")
    with pytest.raises(TransitionNotAllowed):
        await service.update_order(order.id, ADMIN, Update("SHIPPED", "by air"))


@pytest.mark.parametrize("etag", ["1", "3", "02", "x"])
async def test_a_stale_etag_changes_nothing_whatever_is_asked_for(
    etag: str, service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await order_in(Order.PAID, service, settlement)
    assert order.etag == "2"
    before = await fingerprint(orders_db, metadata, without=[])
    for update in (Update("SHIPPED", etag=etag), Update("CANCELED", etag=etag), Update(etag=etag)):
        with pytest.raises(StaleEtag):
            await service.update_order(order.id, ADMIN, update)
    assert await fingerprint(orders_db, metadata, without=[]) == before


async def test_of_two_updates_of_the_same_state_one_wins(service: OrderService, settlement: Settlement) -> None:
    order = await order_in(Order.PAID, service, settlement)
    updates = [Update("CANCELED", etag=order.etag), Update("SHIPPED", etag=order.etag)]
    updates += [Update(description=f"{number}", etag=order.etag) for number in range(8)]
    results = await asyncio.gather(
        *(service.update_order(order.id, ADMIN, update) for update in updates), return_exceptions=True
    )
    assert sum(isinstance(result, Order) for result in results) == 1
    assert sum(isinstance(result, StaleEtag) for result in results) == 9
    assert len(await history_of(service, order)) == 3


async def test_the_orders_of_others_are_not_there(service: OrderService, settlement: Settlement) -> None:
    order = await order_in(Order.PAID, service, settlement)
    stranger = somebody(new_id())
    for attempt in (
        service.update_order(order.id, stranger, UPDATES["describe"]),
        service.cancel_order(order.id, stranger, ""),
        service.list_history(order.id, stranger),
        service.cancel_order(new_id(), ADMIN, ""),
        service.list_history(new_id(), ADMIN),
    ):
        with pytest.raises(OrderNotFound):
            await attempt
    assert await service.get_order(order.id, owner(order)) == order


async def test_a_cancellation_and_a_payment_at_once_leave_no_money_taken(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    orders = [await pending_order(service) for _ in range(30)]
    await asyncio.gather(
        *(service.cancel_order(order.id, owner(order), "") for order in orders),
        *(settlement.settle([paid(order) for order in orders[start : start + 3]]) for start in range(0, 30, 3)),
    )
    questions = await asked(orders_db, "orders.reversal_requested")
    assert sorted(question.order_id for question in questions) == sorted(order.id for order in orders)
    await settlement.settle([reversed_(order, 1000) for order in orders])
    for order in orders:
        now = await service.get_order(order.id, owner(order))
        assert (now.status, now.paid_price, now.refunded_price) == (Order.CANCELED, 1000, 1000)
        versions = [subject for subject, _ in await told(orders_db, order)]
        assert versions in (
            ["orders.canceled", "orders.refunded"],
            ["orders.paid", "orders.canceled", "orders.refunded"],
        )


async def test_an_expiry_a_cancellation_and_a_payment_at_once_end_in_one_of_them(
    service: OrderService, settlement: Settlement, sweeper: Sweeper, orders_db: Database
) -> None:
    orders = [await pending_order(service) for _ in range(30)]
    async with orders_db.transaction() as tx:
        await tx.execute(sql("UPDATE orders SET created_at = '2020-01-01', asked_at = '2020-01-01'"))
    await asyncio.gather(
        sweeper.sweep(),
        *(settlement.settle([paid(order) for order in orders[start : start + 5]]) for start in range(0, 30, 5)),
        sweeper.sweep(),
    )
    asked_back = {question.order_id for question in await asked(orders_db, "orders.reversal_requested")}
    for order in orders:
        now = await service.get_order(order.id, owner(order))
        assert now.etag == "2"
        assert now.status == (Order.CANCELED if order.id in asked_back else Order.PAID)


async def test_the_history_tells_every_version_of_an_order(
    service: OrderService, settlement: Settlement, orders_db: Database
) -> None:
    order = await pending_order(service, capture=Order.MANUAL)
    await settlement.settle([authorized(order)])
    await service.update_order(order.id, owner(order), UPDATES["describe"])
    await service.update_order(order.id, impatient(ADMIN), UPDATES["ship"])
    await settlement.settle([paid(order)])
    await refund(service, order, 200)
    await settlement.settle([refunded(question) for question in await asked(orders_db, "orders.refund_requested")])
    assert await history_of(service, order) == [
        ("PENDING", "CREATED", 0),
        ("AUTHORIZED", "PAYMENT", 0),
        ("AUTHORIZED", "OWNER", 0),
        ("AUTHORIZED", "ADMIN", 0),
        ("PAID", "PAYMENT", 0),
        ("SHIPPED", "ADMIN", 0),
        ("SHIPPED", "ADMIN", 200),
    ]
    now = await service.get_order(order.id, ADMIN)
    assert now.etag == "7"
    changes = await service.list_history(order.id, ADMIN)
    moments = [change.changed_at.ToNanoseconds() for change in changes]
    assert (moments[0], moments[-1]) == (now.created_at.ToNanoseconds(), now.updated_at.ToNanoseconds())
    assert all(earlier <= later for earlier, later in itertools.pairwise(moments))


async def test_what_is_cached_is_never_older_than_the_last_change(
    service: OrderService, settlement: Settlement, orders_db: Database, cache: Cache
) -> None:
    order = await order_in(Order.PAID, service, settlement)
    key = f"order:{order.id}"
    assert await cache.get(key) == order.SerializeToString()
    steps: list[Any] = [
        lambda: service.update_order(order.id, owner(order), UPDATES["describe"]),
        lambda: service.update_order(order.id, ADMIN, UPDATES["ship"]),
    ]
    for step in steps:
        changed = await step()
        # A reader that was slower than the change, and a second instance that was slower to say what it committed.
        await cache.fill({key: order.SerializeToString()})
        assert await service.get_order(order.id, owner(order)) == changed
    await refund(service, order, 100)
    [question] = await asked(orders_db, "orders.refund_requested")
    await settlement.settle([refunded(question)])
    assert (await service.get_order(order.id, owner(order))).refunded_price == 100


@pytest.mark.parametrize("status", [Order.PENDING, Order.AUTHORIZED, Order.CANCELED])
async def test_an_order_that_changes_by_itself_is_not_cached(
    status: Order.Status, service: OrderService, settlement: Settlement, cache: Cache
) -> None:
    order = await order_in(Order.PENDING if status == Order.CANCELED else status, service, settlement)
    if status == Order.CANCELED:
        await service.cancel_order(order.id, owner(order), "")
    assert (await service.get_order(order.id, ADMIN)).status == status
    assert await cache.get(f"order:{order.id}") is None


async def test_a_watcher_sees_every_change_once_and_none_backwards(
    service: OrderService, settlement: Settlement, orders_db: Database, bus: Bus
) -> None:
    order = await pending_order(service)
    seen: list[Order] = []

    async def watch() -> None:
        async for state in service.watch_order(order.id, owner(order)):
            seen.append(state)  # noqa: PERF401 - the test looks at it meanwhile

    watching = asyncio.create_task(watch())

    async def watches() -> bool:
        return bool(seen)

    await eventually(watches)
    await settlement.settle([paid(order)])
    await service.update_order(order.id, ADMIN, UPDATES["ship"])
    facts = [message for message in await outbox_of(orders_db) if message.subject != "orders.created"]
    # Twice, the first one last: NATS promises neither.
    await bus.publish([facts[0]])
    await bus.publish([facts[0]])
    await bus.publish(facts[::-1])
    async with asyncio.timeout(30):
        await watching
    assert [state.etag for state in seen] == ["1", "2", "3"]
