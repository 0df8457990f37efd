"""services.orders.migrations on databases that hold data."""

import asyncio

import asyncpg
from alembic import command

from gozon.orders.v1.orders_pb2 import Order, OrderChange
from kit import migrations
from kit.db import Database, sql
from kit.ids import new_id
from services.orders import repository
from tests.support import SERVICES_FOLDER, RunningStack, eventually, fresh_database, in_thread, migrate

EARLIER = "'2026-01-02 03:04:05+00'"
LATER = "'2026-01-02 03:04:06+00'"


async def test_orders_of_the_first_release_have_a_life_cycle(stack: RunningStack) -> None:
    user_id = new_id()
    ids = {status: new_id() for status in ("PENDING", "PAID", "CANCELED")}
    async with fresh_database(stack, "orders") as name:
        url = stack.url_of("orders", name)
        config = migrations.config(url, SERVICES_FOLDER / "orders")
        in_thread(lambda: command.upgrade(config, "0001"))
        database = Database(url)
        async with database.transaction() as tx:
            for status, order_id in ids.items():
                reason = "NO_ACCOUNT" if status == "CANCELED" else ""
                asked_at = EARLIER if status == "PENDING" else "NULL"
                await tx.execute(
                    sql(f"""
                        INSERT INTO orders VALUES (:user_id::uuid, :id::uuid, :status::text, :reason::text, '[]', 'tea',
                                                   700, 'RUB', {EARLIER},
                                                   {EARLIER if status == "PENDING" else LATER}, {asked_at})
                    """),
                    user_id=user_id,
                    id=order_id,
                    status=status,
                    reason=reason,
                )
        migrate(url, "orders")
        async with database.autocommit() as connection:
            orders = {status: await repository.by_id(connection, user_id, ids[status]) for status in ids}
            for status, order in orders.items():
                assert order is not None
                assert (Order.Status.Name(order.status), order.capture) == (status, Order.AUTOMATIC)
                assert (order.etag, order.paid_price, order.refunded_price) == {
                    "PENDING": ("1", 0, 0),
                    "PAID": ("2", 700, 0),
                    "CANCELED": ("2", 0, 0),
                }[status]
                created, *then = await repository.history(connection, order)
                assert (created.status, created.cause) == (Order.PENDING, OrderChange.CREATED)
                assert created.changed_at == order.created_at
                settled = (order.status, OrderChange.PAYMENT, order.cancel_reason, order.updated_at)
                assert [(c.status, c.cause, c.cancel_reason, c.changed_at) for c in then] == (
                    [] if status == "PENDING" else [settled]
                )
        await database.close()


async def test_an_index_is_built_while_others_write(stack: RunningStack) -> None:
    async with fresh_database(stack, "orders") as name:
        url = stack.url_of("orders", name)
        config = migrations.config(url, SERVICES_FOLDER / "orders")
        in_thread(lambda: command.upgrade(config, "0006"))
        before, during = await asyncpg.connect(url), await asyncpg.connect(url)
        async with before.transaction():
            await before.execute(INSERT, new_id())
            migrating = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "0007"))

            async def waits() -> bool:
                return bool(await during.fetchval(WAITS))

            await eventually(waits)
            await during.execute(INSERT, new_id(), timeout=5)
            assert not migrating.done()
        await migrating
        assert await during.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'orders_to_ship'::regclass")
        await before.close()
        await during.close()


INSERT = """
    INSERT INTO orders (user_id, id, status, cancel_reason, items, description, total_price, currency, capture,
                        created_at, updated_at)
    VALUES (gen_random_uuid(), $1::uuid, 'PENDING', '', '[]', 'tea', 700, 'RUB', 'AUTOMATIC', now(), now())
"""
WAITS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'CREATE INDEX%orders_to_ship%' AND wait_event_type = 'Lock'
"""
