"""services.orders.repository with many rows loaded: what is on the order path uses indexes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from kit import idempotency
from kit.db import Database, sql
from kit.ids import new_id
from services.orders import repository
from tests.support import RunningStack, fresh_database, scanned_whole

ROWS = 20_000
LOAD = (
    # 200 users, each with 100 orders; the newest hundred orders are pending.
    """INSERT INTO orders
       SELECT ('00000000-0000-7000-8000-' || lpad((n % 200)::text, 12, '0'))::uuid, uuidv7(),
              CASE WHEN n > :rows - 100 THEN 'PENDING' ELSE 'PAID' END, '', '[]', '', 10, 'RUB', now(), now(),
              CASE WHEN n > :rows - 100 THEN now() END
       FROM generate_series(1, :rows) AS n""",
    """INSERT INTO idempotency_keys SELECT user_id, 'CreateOrder', id::text, '', '' FROM orders""",
    """ANALYZE""",
)
ONE, BATCH = 1, 500


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


@pytest.mark.parametrize("size", [ONE, BATCH])
async def test_no_statement_walks_through_a_table(size: int, loaded: Database) -> None:
    async with loaded.autocommit() as connection:
        found = await connection.execute(sql("SELECT user_id, id FROM orders ORDER BY id LIMIT :size"), size=size)
        orders = [(str(row["user_id"]), str(row["id"])) for row in found]
    users, ids = [user for user, _ in orders], [order for _, order in orders]
    now = datetime.now(UTC)
    statements: dict[Any, dict[str, Any]] = {
        repository._SETTLE: {
            "user_ids": users,
            "ids": ids,
            "now": now,
            "statuses": ["PAID"] * size,
            "cancel_reasons": [""] * size,
        },
        repository._UNANSWERED: {"now": now, "limit": 500},
        repository._BY_ID: {"order_id": ids[0]},
        repository._BY_OWNER: {"user_id": users[0], "order_id": ids[0]},
        repository._PAGE: {"user_id": users[0], "status": "", "before": new_id(), "limit": 21},
        idempotency._FIRST_ALL: {"user_ids": users, "methods": ["CreateOrder"] * size, "keys": ids},
    }
    for statement, parameters in statements.items():
        assert await scanned_whole(loaded, statement, **parameters) == set(), statement.text


async def test_a_page_of_pending_orders_does_not_walk_through_the_table_either(loaded: Database) -> None:
    user_id = "00000000-0000-7000-8000-000000000007"
    parameters = {"user_id": user_id, "status": "PENDING", "before": new_id(), "limit": 21}
    assert await scanned_whole(loaded, repository._PAGE, **parameters) == set()
