"""SQL of Orders. What is on the order path takes many rows at once."""

import json
from collections.abc import Sequence
from datetime import datetime

from gozon.orders.v1.orders_pb2 import Order, OrderItem
from kit.db import Connection, Row, Transaction, sql
from services.orders.events import Settlement


async def insert(tx: Transaction, orders: Sequence[Order], created_at: datetime) -> None:
    """Adds new orders, all created at the same moment."""
    await tx.execute(
        _INSERT,
        user_ids=[o.user_id for o in orders],
        ids=[o.id for o in orders],
        items=[_items_json(o) for o in orders],
        descriptions=[o.description for o in orders],
        total_prices=[o.total_price for o in orders],
        currencies=[o.currency for o in orders],
        created_at=created_at,
    )


async def settle(tx: Transaction, settlements: Sequence[Settlement], now: datetime) -> list[Order]:
    """Ends pending orders and returns those that this changed."""
    # Sorted, so that two instances with overlapping batches wait for each other instead of deadlocking.
    settlements = sorted(settlements, key=lambda s: (s.user_id, s.order_id))
    rows = await tx.execute(
        _SETTLE,
        user_ids=[s.user_id for s in settlements],
        ids=[s.order_id for s in settlements],
        statuses=[s.status for s in settlements],
        cancel_reasons=[s.cancel_reason for s in settlements],
        now=now,
    )
    return [_order(row) for row in rows]


async def unanswered(tx: Transaction, now: datetime, limit: int) -> list[Order]:
    """Returns pending orders without an answer for longer than 30 seconds, and notes that they are asked for again.

    Each time the wait doubles, up to 10 minutes, so that a long absence of Payments does not fill the broker.
    """
    return [_order(row) for row in await tx.execute(_UNANSWERED, now=now, limit=limit)]


async def by_id(connection: Connection, user_id: str | None, order_id: str) -> Order | None:
    """Returns an order, of this user if one is given."""
    if user_id is None:
        row = await connection.one_or_none(_BY_ID, order_id=order_id)
    else:
        row = await connection.one_or_none(_BY_OWNER, user_id=user_id, order_id=order_id)
    return _order(row) if row else None


async def page(connection: Connection, user_id: str, status: str, before: str, limit: int) -> list[Order]:
    """Returns a user's orders with ids below `before`, newest first; an empty status means any."""
    rows = await connection.execute(_PAGE, user_id=user_id, status=status, before=before, limit=limit)
    return [_order(row) for row in rows]


def _items_json(order: Order) -> str:
    return json.dumps([{"name": i.name, "quantity": i.quantity, "price": i.price} for i in order.items])


def _order(row: Row) -> Order:
    order = Order(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        status=row["status"],
        cancel_reason=row["cancel_reason"] or None,
        items=[OrderItem(**item) for item in json.loads(row["items"])],
        description=row["description"],
        total_price=row["total_price"],
        currency=row["currency"],
    )
    order.created_at.FromDatetime(row["created_at"])
    order.updated_at.FromDatetime(row["updated_at"])
    return order


_COLUMNS = """orders.id, orders.user_id, orders.status, orders.cancel_reason, orders.items::text AS items,
    orders.description, orders.total_price, orders.currency, orders.created_at, orders.updated_at"""
_INSERT = sql("""
    INSERT INTO orders (user_id, id, status, cancel_reason, items, description, total_price, currency,
                        created_at, updated_at, asked_at)
    SELECT user_id, id, 'PENDING', '', items::jsonb, description, total_price, currency, at, at, at
    FROM unnest(:user_ids::uuid[], :ids::uuid[], :items::text[], :descriptions::text[], :total_prices::bigint[],
                :currencies::text[])
         AS new (user_id, id, items, description, total_price, currency),
         (SELECT :created_at::timestamptz AS at) AS moment
""")
_SETTLE = sql(f"""
    UPDATE orders SET status = new.status, cancel_reason = new.cancel_reason, updated_at = :now::timestamptz,
        asked_at = NULL
    FROM unnest(:user_ids::uuid[], :ids::uuid[], :statuses::text[], :cancel_reasons::text[])
         AS new (user_id, id, status, cancel_reason)
    WHERE orders.user_id = new.user_id AND orders.id = new.id AND orders.status = 'PENDING'
    RETURNING {_COLUMNS}
""")
_UNANSWERED = sql(f"""
    UPDATE orders SET asked_at = :now::timestamptz
    FROM (
        SELECT user_id, id FROM orders
        WHERE asked_at < :now::timestamptz - interval '30 seconds'
              AND asked_at < :now::timestamptz - least(asked_at - created_at, interval '10 minutes')
        ORDER BY asked_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS waiting
    WHERE orders.user_id = waiting.user_id AND orders.id = waiting.id
    RETURNING {_COLUMNS}
""")
_BY_ID = sql(f"SELECT {_COLUMNS} FROM orders WHERE id = :order_id::uuid")
_BY_OWNER = sql(f"SELECT {_COLUMNS} FROM orders WHERE user_id = :user_id::uuid AND id = :order_id::uuid")
_PAGE = sql(f"""
    SELECT {_COLUMNS} FROM orders
    WHERE user_id = :user_id::uuid AND id < :before::uuid AND (:status::text = '' OR status = :status::text)
    ORDER BY id DESC LIMIT :limit
""")
