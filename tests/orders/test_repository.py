"""services.orders.repository with many rows loaded: what is on the order path uses indexes."""

from collections.abc import AsyncIterator

import pytest

from kit.db import Database, sql
from kit.pages import NEWEST
from services.orders import repository
from tests import statements
from tests.support import RunningStack, fresh_database, indexes_used

ROWS = 20_000
LOAD = (
    # 200 users, each with 100 orders; the newest hundred orders are pending.
    """INSERT INTO orders
       SELECT ('00000000-0000-7000-8000-' || lpad((n % 200)::text, 12, '0'))::uuid, uuidv7(),
              CASE WHEN n > :rows - 100 THEN 'PENDING' ELSE 'PAID' END, '', '[]', '', 10, 'RUB', now(), now(),
              CASE WHEN n > :rows - 100 THEN now() END, 'AUTOMATIC', CASE WHEN n > :rows - 100 THEN 0 ELSE 10 END
       FROM generate_series(1, :rows) AS n""",
    """INSERT INTO order_changes
       SELECT user_id, id, 2, 'PAID', 'PAYMENT', '', 0, '', NULL, now() FROM orders WHERE status = 'PAID'""",
    # Five of each order; of one in a hundred there is no answer yet.
    """INSERT INTO refunds
       SELECT user_id, id, uuidv7(), 1, CASE WHEN n % 100 = 0 THEN 'PENDING' ELSE 'SUCCEEDED' END, '', user_id, now(),
              CASE WHEN n % 100 = 0 THEN now() END
       FROM (SELECT user_id, id, row_number() OVER () AS n FROM orders, generate_series(1, 5)) AS of_order""",
    """INSERT INTO idempotency_keys SELECT user_id, 'CreateOrder', id::text, '', '' FROM orders""",
    "INSERT INTO products SELECT id, 'tea', 10, 'RUB', true, 1 FROM orders",
    *statements.WAITING,
    """ANALYZE""",
)


@pytest.fixture(scope="module")
async def loaded(stack: RunningStack, templates: dict[str, str]) -> AsyncIterator[Database]:
    """A database of Orders with 20,000 orders."""
    async with fresh_database(stack, "orders", templates["orders"]) as name:
        database = Database(stack.url_of("orders", name))
        async with database.transaction() as tx:
            for statement in LOAD:
                await tx.execute(sql(statement), **({"rows": ROWS} if ":rows" in statement else {}))
        yield database
        await database.close()


@pytest.mark.parametrize("size", statements.SIZES)
async def test_no_statement_walks_through_a_table(size: int, loaded: Database) -> None:
    async with loaded.autocommit() as connection:
        assert await statements.walks_of_orders(connection, size) == []


@pytest.mark.parametrize("status", ["AUTHORIZED", "PAID"])
async def test_what_is_to_be_shipped_is_not_searched_among_all_orders(status: str, loaded: Database) -> None:
    async with loaded.autocommit() as connection:
        used = await indexes_used(connection, repository._PAGE_TO_SHIP, status=status, before=NEWEST, limit=21)
    assert used == {"orders_to_ship"}
