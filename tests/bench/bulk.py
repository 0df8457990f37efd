"""Orders by the million, as if they had been made and paid: straight into both databases, a statement a table.

What is written agrees in every detail, the hashes of the ledger too: `gozon check` finds nothing.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import asyncpg

from stack.home import Stack
from tests.bench.asked import ITEMS_JSON, TOTAL_PRICE

PERIOD = timedelta(days=6)
"""What the orders are spread over; of older ones housekeeping would clean the inbox."""
DEPOSIT = 10**12
PRODUCTS = 10_000
"""In the shop, at most; nobody has bought any."""


async def load(stack: Stack, orders_of: Mapping[str, int]) -> None:
    """Gives each user an account, if there is none, money, and so many orders. Users must not have moved money yet."""
    start = datetime.now(UTC) - PERIOD
    step = PERIOD / (sum(orders_of.values()) + 1)
    for database, statements in (("orders", _ORDERS), ("payments", _PAYMENTS)):
        connection = await asyncpg.connect(stack.superuser_url(database))
        try:
            await connection.execute("SET work_mem = '128MB'; SET jit = off")
            async with connection.transaction():
                await connection.execute(_PLANNED)
                # The same in both databases: neither chance nor a clock has a part in it.
                await connection.execute(_PLAN, list(orders_of), list(orders_of.values()), start, step)
                for statement in statements:
                    await connection.execute(statement)
            # As autovacuum does, sooner or later.
            await connection.execute("VACUUM ANALYZE")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()


_PLANNED = """
    CREATE TEMPORARY TABLE planned (
        user_id uuid, order_id uuid, at timestamptz, status text, reason text, capture text, price bigint, paid bigint,
        refunded bigint
    ) ON COMMIT DROP
"""
# The orders of all users mixed, as in life; ids are UUIDv7 of their moment. Of a hundred one is only authorized and one
# declined; of ten something was given back.
_PLAN = f"""
    INSERT INTO planned
    SELECT user_id,
           (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0')
            || '7' || left(dice, 3) || '8' || substr(dice, 4, 15))::uuid,
           at, status, CASE status WHEN 'CANCELED' THEN 'INSUFFICIENT_FUNDS' ELSE '' END,
           CASE status WHEN 'AUTHORIZED' THEN 'MANUAL' ELSE 'AUTOMATIC' END, {TOTAL_PRICE},
           CASE status WHEN 'PAID' THEN {TOTAL_PRICE} ELSE 0 END, CASE n % 10 WHEN 3 THEN {TOTAL_PRICE} / 10 ELSE 0 END
    FROM (
        SELECT user_id, dice, n, $3::timestamptz + n * $4::interval AS at,
               CASE n % 100 WHEN 1 THEN 'AUTHORIZED' WHEN 2 THEN 'CANCELED' ELSE 'PAID' END AS status
        FROM (
            SELECT user_id, dice, row_number() OVER (ORDER BY dice) AS n
            FROM unnest($1::uuid[], $2::int[]) AS owners (user_id, orders),
                 LATERAL (SELECT md5(user_id || ' ' || k) AS dice FROM generate_series(1, orders) AS k) AS thrown
        ) AS mixed
    ) AS timed
"""
_REFUND_ID = "md5(order_id::text)::uuid"
_ORDERS = (
    f"""
    INSERT INTO orders (user_id, id, status, cancel_reason, items, description, total_price, currency, created_at,
                        updated_at, capture, paid_price, refunded_price, version)
    SELECT user_id, order_id, status, reason, '{ITEMS_JSON}', '', price, 'RUB', at, at, capture, paid, refunded,
           CASE refunded WHEN 0 THEN 2 ELSE 3 END
    FROM planned ORDER BY at
    """,
    """
    INSERT INTO order_changes (user_id, order_id, version, status, cause, cancel_reason, refunded, description,
                               actor_id, changed_at)
    SELECT user_id, order_id, version, status, cause, reason, CASE version WHEN 3 THEN refunded ELSE 0 END, '', NULL, at
    FROM planned JOIN (VALUES (2, 'PAYMENT'), (3, 'ADMIN')) AS changes (version, cause)
         ON version = 2 OR refunded > 0
    ORDER BY at, version
    """,
    f"""
    INSERT INTO refunds (user_id, order_id, id, amount, status, description, actor_id, created_at)
    SELECT user_id, order_id, {_REFUND_ID}, refunded, 'SUCCEEDED', '', user_id, at
    FROM planned WHERE refunded > 0 ORDER BY at
    """,
    "INSERT INTO idempotency_keys SELECT user_id, 'CreateOrder', order_id::text, '', '' FROM planned ORDER BY at",
    f"INSERT INTO products SELECT order_id, 'tea', 10, 'RUB', true, 1 FROM planned ORDER BY at LIMIT {PRODUCTS}",
)
_PAYMENTS = (
    """
    INSERT INTO payments (user_id, order_id, status, reason, amount, currency, captured, refunded, requested_by,
                          expires_at, created_at, updated_at)
    SELECT user_id, order_id, CASE status WHEN 'PAID' THEN 'CAPTURED' WHEN 'CANCELED' THEN 'FAILED' ELSE status END,
           reason, price, 'RUB', paid, refunded, 'ORDERS',
           CASE status WHEN 'AUTHORIZED' THEN now() + interval '7 days' END, at, at
    FROM planned ORDER BY at
    """,
    f"""
    INSERT INTO refunds (user_id, order_id, refund_id, amount, status, refunded, created_at)
    SELECT user_id, order_id, {_REFUND_ID}, refunded, 'SUCCEEDED', refunded, at
    FROM planned WHERE refunded > 0 ORDER BY at
    """,
    # What moves: the amount comes to what is available, and leaves another account of the ledger.
    f"""
    CREATE TEMPORARY TABLE moves ON COMMIT DROP AS
    SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY at, kind) AS number
    FROM (
        SELECT user_id, NULL::uuid AS order_id, 'DEPOSIT' AS kind, {DEPOSIT}::bigint AS amount, 'funding' AS other,
               min(at) - interval '1 s' AS at FROM planned GROUP BY user_id
        UNION ALL
        SELECT user_id, order_id, 'CHARGE', -price, 'revenue', at FROM planned WHERE status = 'PAID'
        UNION ALL
        SELECT user_id, order_id, 'HOLD', -price, 'held', at FROM planned WHERE status = 'AUTHORIZED'
        UNION ALL
        SELECT user_id, order_id, 'REFUND', refunded, 'revenue', at FROM planned WHERE refunded > 0
    ) AS moved
    """,
    # An aggregate over a window gives each row the hash over it and the hash before: what services/payments/ledger.py
    # does one by one.
    """
    CREATE FUNCTION pg_temp.link(hash bytea, text text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        RETURN sha256(hash || convert_to(text, 'UTF8'));
    END $$
    """,
    "CREATE AGGREGATE pg_temp.chained (text) (sfunc = pg_temp.link, stype = bytea, initcond = '')",
    """
    CREATE TEMPORARY TABLE booked ON COMMIT DROP AS
    SELECT user_id, number, kind, order_id, amount, other, balance, held, at,
           pg_temp.chained(concat_ws('|', user_id, number, kind, coalesce(order_id::text, ''), 'RUB',
               'available:' || amount || ',' || other || ':' || -amount, balance, held,
               (extract(epoch FROM at) * 1000000)::bigint)) OVER chain AS hash
    FROM (
        SELECT *, (sum(amount) FILTER (WHERE other <> 'held') OVER chain)::bigint AS balance,
               coalesce(-sum(amount) FILTER (WHERE other = 'held') OVER chain, 0)::bigint AS held
        FROM moves WINDOW chain AS (PARTITION BY user_id ORDER BY number)
    ) AS summed
    WINDOW chain AS (PARTITION BY user_id ORDER BY number)
    """,
    """
    INSERT INTO transactions (user_id, number, kind, order_id, currency, to_available, to_held, to_funding, to_revenue,
                              to_payouts, balance, held, created_at, hash)
    SELECT user_id, number, kind, order_id, 'RUB', amount, CASE other WHEN 'held' THEN -amount ELSE 0 END,
           CASE other WHEN 'funding' THEN -amount ELSE 0 END, CASE other WHEN 'revenue' THEN -amount ELSE 0 END, 0,
           balance, held, at, hash
    FROM booked ORDER BY at, number
    """,
    """
    INSERT INTO accounts (user_id, currency, balance, held, number, hash, created_at, updated_at)
    SELECT user_id, 'RUB', balance, held, number, hash, opened, at
    FROM (
        SELECT DISTINCT ON (user_id) *, min(at) OVER (PARTITION BY user_id) AS opened
        FROM booked ORDER BY user_id, number DESC
    ) AS last
    ON CONFLICT (user_id) DO UPDATE SET
        balance = excluded.balance, held = excluded.held, number = excluded.number, hash = excluded.hash,
        created_at = excluded.created_at, updated_at = excluded.updated_at
    """,
    "INSERT INTO inbox SELECT 'payments-charge', uuidv7(at - now()), at FROM planned ORDER BY at",
    "INSERT INTO idempotency_keys SELECT user_id, 'Deposit', 'k', '', '' FROM planned GROUP BY user_id",
    f"""
    INSERT INTO products
    SELECT order_id, 'tea', '', 10, 'RUB', 'CONSUMABLE', true, 1, at, at FROM planned ORDER BY at LIMIT {PRODUCTS}
    """,
)
"""In a transaction, so that all of it is there or nothing."""
