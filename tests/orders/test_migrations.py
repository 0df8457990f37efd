"""services.orders.migrations on databases that hold data."""

from alembic import command

from gozon.orders.v1.orders_pb2 import Order, OrderChange
from kit import migrations
from kit.db import Database, sql
from kit.ids import new_id
from services.orders import repository
from tests.support import SERVICES_FOLDER, RunningStack, fresh_database, in_thread, migrate

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
