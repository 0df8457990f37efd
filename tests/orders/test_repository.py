"""services.orders.repository with many rows loaded: what is on the order path uses indexes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
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
        found = await connection.execute(
            sql("SELECT user_id, order_id, id FROM refunds ORDER BY order_id LIMIT :size"), size=size
        )
    users, ids, refunds = ([str(row[column]) for row in found] for column in ("user_id", "order_id", "id"))
    now = datetime.now(UTC)
    statements: dict[Any, dict[str, Any]] = {
        repository._CHANGE: {
            "user_ids": users,
            "ids": ids,
            "cancel_reasons": [""] * size,
            "paid_prices": [10] * size,
            "before": ["PENDING", "AUTHORIZED"],
            "after": ["PAID", "PAID"],
            "cause": "PAYMENT",
            "actor_id": None,
            "description": None,
            "shipped_by": None,
            "asked_at": None,
            "now": now,
        },
        repository._REVERSE: {
            "user_ids": users,
            "ids": ids,
            "paid": [10] * size,
            "refunded": [10] * size,
            "now": now,
        },
        repository._REFUND: {"user_ids": users, "order_ids": ids, "ids": refunds, "now": now},
        repository._REFUSE_REFUNDS: {"user_ids": users, "order_ids": ids, "ids": refunds},
        repository._REFUNDS_UNDER_WAY: {"user_id": users[0], "order_id": ids[0]},
        repository._UNANSWERED: {"now": now, "pending_since": now - timedelta(days=1), "limit": 500},
        repository._UNANSWERED_REFUNDS: {"now": now, "limit": 500},
        repository._HISTORY: {"user_id": users[0], "order_id": ids[0]},
        repository._LOCK_BY_ID: {"order_id": ids[0]},
        repository._LOCK_BY_OWNER: {"user_id": users[0], "order_id": ids[0]},
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
