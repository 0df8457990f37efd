"""SQL of Orders. What is on the order path takes many rows at once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gozon.orders.v1.orders_pb2 import Order, OrderChange, OrderItem
from kit.db import Connection, Row, Statement, Transaction, sql
from services.orders.domain import TRANSITIONS
from services.orders.events import Refund, Verdict


@dataclass(frozen=True, slots=True)
class Stored:
    """An order, and what of its row is nobody else's business."""

    order: Order
    asked_at: datetime | None
    shipped_by: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """How orders change in one step, apart from what each of them says itself. None leaves a column as it is."""

    step: str
    cause: str
    at: datetime
    asked_at: datetime | None = None
    """When Payments was asked what follows from the status after the step; None when it need not answer."""
    actor_id: str | None = None
    description: str | None = None
    shipped_by: str | None = None


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
        captures=[Order.Capture.Name(o.capture) for o in orders],
        created_at=created_at,
    )


async def change(tx: Transaction, how: Change, verdicts: Sequence[Verdict]) -> list[Stored]:
    """Takes orders a step further where their status allows it, notes that, and returns those that this changed."""
    # Sorted, so that two instances with overlapping batches wait for each other instead of deadlocking.
    verdicts = sorted(verdicts, key=lambda v: (v.user_id, v.order_id))
    transitions = TRANSITIONS[how.step]
    rows = await tx.execute(
        _CHANGE,
        user_ids=[v.user_id for v in verdicts],
        ids=[v.order_id for v in verdicts],
        cancel_reasons=[v.cancel_reason for v in verdicts],
        paid_prices=[v.paid for v in verdicts],
        before=list(transitions),
        after=list(transitions.values()),
        cause=how.cause,
        actor_id=how.actor_id,
        description=how.description,
        shipped_by=how.shipped_by,
        asked_at=how.asked_at,
        now=how.at,
    )
    return [_stored(row) for row in rows]


async def reverse(tx: Transaction, verdicts: Sequence[Verdict], now: datetime) -> list[Order]:
    """Ends the waiting of canceled orders, notes what came back, and returns those for which that was something."""
    latest = {v.order_id: v for v in verdicts}.values()
    rows = await tx.execute(
        _REVERSE,
        user_ids=[v.user_id for v in latest],
        ids=[v.order_id for v in latest],
        paid=[v.paid for v in latest],
        refunded=[v.refunded for v in latest],
        now=now,
    )
    return [_order(row) for row in rows]


async def insert_refund(tx: Transaction, refund: Refund, description: str, actor_id: str, now: datetime) -> None:
    """Adds a refund that Payments is asked for."""
    await tx.execute(
        _INSERT_REFUND,
        user_id=refund.user_id,
        order_id=refund.order_id,
        id=refund.id,
        amount=refund.amount,
        description=description,
        actor_id=actor_id,
        now=now,
    )


async def refunds_under_way(tx: Transaction, order: Order) -> int:
    """Returns the sum of an order's refunds that Payments has not answered, in minor units."""
    row = await tx.one_or_none(_REFUNDS_UNDER_WAY, user_id=order.user_id, order_id=order.id)
    return int(row["amount"]) if row else 0


async def refund(tx: Transaction, verdicts: Sequence[Verdict], now: datetime) -> list[Order]:
    """Ends refunds that succeeded, notes them, and returns the orders that this changed."""
    rows = await tx.execute(_REFUND, **_refund_keys(verdicts), now=now)
    return [_order(row) for row in rows]


async def refuse_refunds(tx: Transaction, verdicts: Sequence[Verdict]) -> None:
    """Ends refunds that failed."""
    await tx.execute(_REFUSE_REFUNDS, **_refund_keys(verdicts))


async def unanswered(tx: Transaction, now: datetime, pending_since: datetime, limit: int) -> list[Order]:
    """Returns orders that Payments has not answered for longer than 30 seconds, and notes that it is asked again.

    Each time the wait doubles, up to 10 minutes, so that a long absence of Payments does not fill the broker; but not
    for those that are PENDING since before `pending_since`.
    """
    rows = await tx.execute(_UNANSWERED, now=now, pending_since=pending_since, limit=limit)
    return [_order(row) for row in rows]


async def unanswered_refunds(tx: Transaction, now: datetime, limit: int) -> list[Refund]:
    """Does the same for refunds."""
    rows = await tx.execute(_UNANSWERED_REFUNDS, now=now, limit=limit)
    return [Refund(str(row["id"]), str(row["order_id"]), str(row["user_id"]), row["amount"]) for row in rows]


async def mark_processed(tx: Transaction, order_id: str, now: datetime) -> Order | None:
    """Notes that an order was processed, and returns it; None when it was already, or when there is none."""
    row = await tx.one_or_none(_MARK_PROCESSED, order_id=order_id, now=now)
    return _order(row) if row else None


async def unprocessed(tx: Transaction, now: datetime, asked_before: datetime, limit: int) -> list[Order]:
    """Returns orders whose processing was last asked for before a moment, and notes that it is asked for again.

    Each time the wait doubles, up to 10 minutes, so that tasks which are only slow are not multiplied.
    """
    rows = await tx.execute(_UNPROCESSED, now=now, asked_before=asked_before, limit=limit)
    return [_order(row) for row in rows]


async def by_id(connection: Connection, user_id: str | None, order_id: str) -> Order | None:
    """Returns an order, of this user if one is given."""
    row = await _find(connection, (_BY_ID, _BY_OWNER), user_id, order_id)
    return _order(row) if row else None


async def lock(tx: Transaction, user_id: str | None, order_id: str) -> Stored | None:
    """Returns an order, of this user if one is given, that nobody else changes until `tx` ends."""
    row = await _find(tx, (_LOCK_BY_ID, _LOCK_BY_OWNER), user_id, order_id)
    return _stored(row) if row else None


async def history(connection: Connection, order: Order) -> list[OrderChange]:
    """Returns what happened to an order, oldest first; its creation, of which there is no row, as the first."""
    created = OrderChange(status=Order.PENDING, cause=OrderChange.CREATED, actor_id=order.user_id)
    created.changed_at.CopyFrom(order.created_at)
    rows = await connection.execute(_HISTORY, user_id=order.user_id, order_id=order.id)
    return [created, *map(_change, rows)]


async def page(connection: Connection, user_id: str, status: str, before: str, limit: int) -> list[Order]:
    """Returns a user's orders with ids below `before`, newest first; an empty status means any."""
    rows = await connection.execute(_PAGE, user_id=user_id, status=status, before=before, limit=limit)
    return [_order(row) for row in rows]


async def page_of_all(connection: Connection, status: str, before: str, limit: int) -> list[Order]:
    """Does the same for the orders of all users, of which the status is one of domain.TO_SHIP or empty."""
    if status:
        rows = await connection.execute(_PAGE_TO_SHIP, status=status, before=before, limit=limit)
    else:
        rows = await connection.execute(_PAGE_OF_ALL, before=before, limit=limit)
    return [_order(row) for row in rows]


async def _find(
    connection: Connection, statements: tuple[Statement, Statement], user_id: str | None, order_id: str
) -> Row | None:
    anybodys, own = statements
    if user_id is None:
        return await connection.one_or_none(anybodys, order_id=order_id)
    return await connection.one_or_none(own, user_id=user_id, order_id=order_id)


def _refund_keys(verdicts: Sequence[Verdict]) -> dict[str, list[str]]:
    return {
        "user_ids": [v.user_id for v in verdicts],
        "order_ids": [v.order_id for v in verdicts],
        "ids": [v.refund_id for v in verdicts],
    }


def _items_json(order: Order) -> str:
    return json.dumps([_item(item) for item in order.items])


def _item(item: OrderItem) -> dict[str, str | int]:
    kept: dict[str, str | int] = {"name": item.name, "quantity": item.quantity, "price": item.price}
    if item.product_id:
        kept["product_id"] = item.product_id
    return kept


def _stored(row: Row) -> Stored:
    return Stored(_order(row), row["asked_at"], str(row["shipped_by"]) if row["shipped_by"] else None)


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
        capture=row["capture"],
        paid_price=row["paid_price"],
        refunded_price=row["refunded_price"],
        etag=str(row["version"]),
    )
    order.created_at.FromDatetime(row["created_at"])
    order.updated_at.FromDatetime(row["updated_at"])
    if row["processed_at"]:
        order.processed_at.FromDatetime(row["processed_at"])
    return order


def _change(row: Row) -> OrderChange:
    change = OrderChange(
        status=row["status"],
        cause=row["cause"],
        cancel_reason=row["cancel_reason"] or None,
        refunded=row["refunded"],
        description=row["description"],
        actor_id=str(row["actor_id"]) if row["actor_id"] else "",
    )
    change.changed_at.FromDatetime(row["changed_at"])
    return change


_COLUMNS = """orders.id, orders.user_id, orders.status, orders.cancel_reason, orders.items::text AS items,
    orders.description, orders.total_price, orders.currency, orders.created_at, orders.updated_at, orders.asked_at,
    orders.capture, orders.paid_price, orders.refunded_price, orders.version, orders.shipped_by,
    orders.processed_at"""
_INSERT = sql("""
    INSERT INTO orders (user_id, id, status, cancel_reason, items, description, total_price, currency, capture,
                        created_at, updated_at, asked_at, processing_asked_at)
    SELECT user_id, id, 'PENDING', '', items::jsonb, description, total_price, currency, capture, at, at, at, at
    FROM unnest(:user_ids::uuid[], :ids::uuid[], :items::text[], :descriptions::text[], :total_prices::bigint[],
                :currencies::text[], :captures::text[])
         AS new (user_id, id, items, description, total_price, currency, capture),
         (SELECT :created_at::timestamptz AS at) AS moment
""")
_NOTE = """INSERT INTO order_changes (user_id, order_id, version, status, cause, cancel_reason, refunded, description,
                                   actor_id, changed_at)"""
_CHANGE = sql(f"""
    WITH changed AS (
        UPDATE orders SET status = (:after::text[])[array_position(:before::text[], orders.status)],
            cancel_reason = new.cancel_reason, paid_price = coalesce(new.paid_price, orders.paid_price),
            description = coalesce(:description::text, orders.description),
            shipped_by = coalesce(:shipped_by::uuid, orders.shipped_by),
            asked_at = :asked_at::timestamptz, updated_at = :now::timestamptz, version = orders.version + 1
        FROM unnest(:user_ids::uuid[], :ids::uuid[], :cancel_reasons::text[], :paid_prices::bigint[])
             AS new (user_id, id, cancel_reason, paid_price)
        WHERE orders.user_id = new.user_id AND orders.id = new.id AND orders.status = ANY(:before::text[])
        RETURNING {_COLUMNS}
    ), noted AS (
        {_NOTE}
        SELECT user_id, id, version, status, :cause::text, cancel_reason, 0, coalesce(:description::text, ''),
               coalesce(:actor_id::uuid, CASE status WHEN 'SHIPPED' THEN shipped_by END), updated_at
        FROM changed
    )
    SELECT * FROM changed
""")
_REVERSE = sql(f"""
    WITH answered AS (
        SELECT user_id, id, answer.paid, greatest(refunded_price, answer.refunded) AS refunded,
               greatest(answer.refunded - refunded_price, 0) AS came_back,
               (answer.paid, answer.refunded) IS DISTINCT FROM (paid_price, refunded_price) AS seen
        FROM orders JOIN unnest(:user_ids::uuid[], :ids::uuid[], :paid::bigint[], :refunded::bigint[])
             AS answer (user_id, id, paid, refunded) USING (user_id, id)
        WHERE status = 'CANCELED' AND asked_at IS NOT NULL
        ORDER BY user_id, id FOR NO KEY UPDATE OF orders
    ), changed AS (
        UPDATE orders SET asked_at = NULL, paid_price = answered.paid, refunded_price = answered.refunded,
            version = orders.version + seen::int,
            updated_at = CASE WHEN seen THEN :now::timestamptz ELSE orders.updated_at END
        FROM answered WHERE orders.user_id = answered.user_id AND orders.id = answered.id
        RETURNING {_COLUMNS}, came_back, seen
    ), noted AS (
        {_NOTE}
        SELECT user_id, id, version, status, 'PAYMENT', cancel_reason, came_back, '', NULL, updated_at
        FROM changed WHERE seen
    )
    SELECT * FROM changed WHERE seen
""")
_INSERT_REFUND = sql("""
    INSERT INTO refunds (user_id, order_id, id, amount, status, description, actor_id, created_at, asked_at)
    VALUES (:user_id::uuid, :order_id::uuid, :id::uuid, :amount::bigint, 'PENDING', :description::text,
            :actor_id::uuid, :now::timestamptz, :now::timestamptz)
""")
_REFUNDS_UNDER_WAY = sql("""
    SELECT coalesce(sum(amount), 0)::bigint AS amount FROM refunds
    WHERE user_id = :user_id::uuid AND order_id = :order_id::uuid AND status = 'PENDING'
""")
# An order whose cancellation has given everything back already counted what this refund was a part of.
_REFUND = sql(f"""
    WITH answered AS (
        UPDATE refunds SET status = 'SUCCEEDED', asked_at = NULL
        FROM unnest(:user_ids::uuid[], :order_ids::uuid[], :ids::uuid[]) AS answer (user_id, order_id, id)
        WHERE refunds.user_id = answer.user_id AND refunds.order_id = answer.order_id AND refunds.id = answer.id
              AND refunds.status = 'PENDING'
        RETURNING refunds.user_id, refunds.order_id, refunds.id, refunds.amount, refunds.description, refunds.actor_id
    ), totals AS (
        SELECT user_id, order_id, sum(amount)::bigint AS amount, count(*)::int AS refunds FROM answered GROUP BY 1, 2
    ), changed AS (
        UPDATE orders SET refunded_price = orders.refunded_price + totals.amount,
            version = orders.version + totals.refunds, updated_at = :now::timestamptz
        FROM totals WHERE orders.user_id = totals.user_id AND orders.id = totals.order_id
             AND orders.refunded_price + totals.amount <= orders.paid_price
        RETURNING {_COLUMNS}
    ), noted AS (
        {_NOTE}
        SELECT changed.user_id, changed.id,
               changed.version - row_number() OVER (PARTITION BY changed.id ORDER BY answered.id DESC) + 1,
               status, 'ADMIN', cancel_reason, answered.amount, answered.description, answered.actor_id, updated_at
        FROM changed JOIN answered ON answered.user_id = changed.user_id AND answered.order_id = changed.id
    )
    SELECT * FROM changed
""")
_REFUSE_REFUNDS = sql("""
    UPDATE refunds SET status = 'FAILED', asked_at = NULL
    FROM unnest(:user_ids::uuid[], :order_ids::uuid[], :ids::uuid[]) AS answer (user_id, order_id, id)
    WHERE refunds.user_id = answer.user_id AND refunds.order_id = answer.order_id AND refunds.id = answer.id
          AND refunds.status = 'PENDING'
""")
_UNANSWERED = sql(f"""
    UPDATE orders SET asked_at = :now::timestamptz
    FROM (
        SELECT user_id, id FROM orders
        WHERE asked_at < :now::timestamptz - interval '30 seconds'
              AND (asked_at < :now::timestamptz - least(asked_at - updated_at, interval '10 minutes')
                   OR status = 'PENDING' AND created_at < :pending_since::timestamptz)
        ORDER BY asked_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS waiting
    WHERE orders.user_id = waiting.user_id AND orders.id = waiting.id
    RETURNING {_COLUMNS}
""")
_UNANSWERED_REFUNDS = sql("""
    UPDATE refunds SET asked_at = :now::timestamptz
    FROM (
        SELECT user_id, order_id, id FROM refunds
        WHERE asked_at < :now::timestamptz - interval '30 seconds'
              AND asked_at < :now::timestamptz - least(asked_at - created_at, interval '10 minutes')
        ORDER BY asked_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS waiting
    WHERE refunds.user_id = waiting.user_id AND refunds.order_id = waiting.order_id AND refunds.id = waiting.id
    RETURNING refunds.id, refunds.order_id, refunds.user_id, refunds.amount
""")
_MARK_PROCESSED = sql(f"""
    WITH changed AS (
        UPDATE orders SET processed_at = :now::timestamptz, processing_asked_at = NULL, updated_at = :now::timestamptz,
            version = orders.version + 1
        WHERE id = :order_id::uuid AND processed_at IS NULL
        RETURNING {_COLUMNS}
    ), noted AS (
        {_NOTE}
        SELECT user_id, id, version, status, 'PROCESSING', cancel_reason, 0, '', NULL, updated_at FROM changed
    )
    SELECT * FROM changed
""")
_UNPROCESSED = sql(f"""
    UPDATE orders SET processing_asked_at = :now::timestamptz
    FROM (
        SELECT user_id, id FROM orders
        WHERE processing_asked_at < :asked_before::timestamptz
              AND processing_asked_at
                  < :now::timestamptz - least(processing_asked_at - created_at, interval '10 minutes')
        ORDER BY processing_asked_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS waiting
    WHERE orders.user_id = waiting.user_id AND orders.id = waiting.id
    RETURNING {_COLUMNS}
""")
_ANYBODYS = f"SELECT {_COLUMNS} FROM orders WHERE id = :order_id::uuid"
_OWN = f"SELECT {_COLUMNS} FROM orders WHERE user_id = :user_id::uuid AND id = :order_id::uuid"
_BY_ID, _BY_OWNER = sql(_ANYBODYS), sql(_OWN)
_LOCK_BY_ID, _LOCK_BY_OWNER = sql(f"{_ANYBODYS} FOR NO KEY UPDATE"), sql(f"{_OWN} FOR NO KEY UPDATE")
_PAGE = sql(f"""
    SELECT {_COLUMNS} FROM orders
    WHERE user_id = :user_id::uuid AND id < :before::uuid AND (:status::text = '' OR status = :status::text)
    ORDER BY id DESC LIMIT :limit
""")
_PAGE_OF_ALL = sql(f"SELECT {_COLUMNS} FROM orders WHERE id < :before::uuid ORDER BY id DESC LIMIT :limit")
# The statuses are those of the index, which PostgreSQL takes only if it reads them here.
_PAGE_TO_SHIP = sql(f"""
    SELECT {_COLUMNS} FROM orders
    WHERE status = :status::text AND status IN ('AUTHORIZED', 'PAID') AND id < :before::uuid
    ORDER BY id DESC LIMIT :limit
""")
_HISTORY = sql("""
    SELECT status, cause, cancel_reason, refunded, description, actor_id, changed_at FROM order_changes
    WHERE user_id = :user_id::uuid AND order_id = :order_id::uuid ORDER BY version
""")
