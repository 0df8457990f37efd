"""All statements of Orders and Payments, with values for them: none may walk through a table, however long it is.

The tests of the repositories ask PostgreSQL for the plans with some thousand rows in each table, `make load-million`
with a million orders. Without rows there is no walk, so a table that should be asked about needs some.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

from kit import dead_letters, housekeeping, idempotency, inbox, outbox
from kit.db import Connection, Statement, sql
from kit.ids import first_id_at, new_id
from services.orders import catalog_repository as catalog
from services.orders import repository as orders
from services.payments import payouts_repository as payouts
from services.payments import repository as payments
from services.payments import shop_repository as shop
from services.payments.product_news import EVER, NO_ID
from services.topology import PAYMENTS_CHARGE
from tests.support import scanned_whole

SIZES = (1, 500)
"""Rows that a statement takes at once: one, and a full batch."""
WAITING = (
    "INSERT INTO outbox SELECT uuidv7(), 's', '', '', now() - interval '1 minute' FROM generate_series(1, 20000)",
    """INSERT INTO dead_letters
       SELECT 'maker', lpad(n::text, 5, '0'), 's', '', '', '', 7, 7, now(), now() - n * interval '1 second'
       FROM generate_series(1, 20000) AS n""",
    "ANALYZE outbox",
    "ANALYZE dead_letters",
)
"""Fills the tables that are empty as long as all is well; what is younger in the outbox is not the sweep's."""
Values = dict[str, Any]
_A_LETTER: Values = {
    "consumer": "maker",
    "event_id": "00007",
    "died_at": datetime(2030, 1, 1, tzinfo=UTC),
    "subject": "s",
    "payload": b"",
    "traceparent": "",
    "error": "",
    "failures": 7,
    "failing_seconds": 1.0,
    "deliveries": 7,
}


async def walks_of_orders(connection: Connection, size: int) -> list[str]:
    """Tells which statements of Orders walk through which tables, given `size` of the refunds that are there."""
    users, ids, refunds = await _some(connection, "user_id, order_id, id", "refunds", size)
    now = datetime.now(UTC)
    values = _of_a_service(users, ids, now, "CreateOrder")
    values |= _times(size, items="[]", descriptions="", total_prices=10, captures="AUTOMATIC", cancel_reasons="")
    values |= _times(size, paid_prices=10, paid=10)
    values |= {"after": ["PAID", "PAID"], "cause": "PAYMENT", "actor_id": None, "shipped_by": None, "asked_at": None}
    values |= {"created_at": now, "pending_since": now - timedelta(days=1), "description": ""}
    values |= {"asked_before": now - timedelta(minutes=1)}
    values |= {"id": refunds[0], "amount": 10}
    values |= _times(size, names="tea", prices=10, on_sale=True, versions=2)
    special: dict[Statement, list[Values]] = {
        orders._CHANGE: [{"before": ["PENDING", "AUTHORIZED"]}],
        orders._INSERT_REFUND: [{"actor_id": users[0]}],
        orders._REFUND: [{"ids": refunds}],
        orders._REFUSE_REFUNDS: [{"ids": refunds}],
        orders._PAGE: [{"limit": 21, "status": status} for status in ("", "PENDING", "PAID")],
        orders._PAGE_OF_ALL: [{"limit": 21}],
        orders._PAGE_TO_SHIP: [{"limit": 21, "status": status} for status in ("AUTHORIZED", "PAID")],
        # Orders has no inbox.
        housekeeping._CLEAN_INBOX: [],
        housekeeping._INBOX_ROWS: [],
    }
    modules = (orders, catalog, idempotency, outbox, dead_letters, housekeeping)
    return await _walks(connection, modules, values, special)


async def walks_of_payments(connection: Connection, size: int) -> list[str]:
    """Does the same for Payments."""
    users, order_ids, refunds = await _some(connection, "user_id, order_id, refund_id", "refunds", size)
    now = datetime.now(UTC)
    values = _of_a_service(users, order_ids, now, "Deposit")
    values |= {"refund_ids": refunds, "currency": "RUB", "at": now}
    values |= _times(size, statuses="CAPTURED", statuses_before="AUTHORIZED", reasons="", requested_by="ORDERS")
    values |= _times(size, amounts=10, captured=10, refunded_before=0, expire_at=None, kinds="CHARGE", hashes=b"")
    values |= _times(size, numbers=10, numbers_before=9, balances=10, held=10, moments=now)
    values |= {"payout_ids": [None] * size, "id": new_id(), "payout_id": refunds[0], "amount": 10, "status": "PENDING"}
    values |= {"recipient_type": "CARD", "recipient": b"", "recipient_masked": b"", "comment": "", "deleted": False}
    values |= {"failure_reason": "", "provider_reference": "", "show_deleted": False}
    product_id = await _a_product(connection)
    values |= {"purchase_ids": [None] * size, "product_id": product_id}
    values |= _times(size, product_ids=product_id, names="tea", quantities=1, prices=10, total_prices=10)
    values |= _times(size, types="CONSUMABLE")
    values |= {"name": None, "price": 10, "quantity": 1, "description": "", "type": "CONSUMABLE"}
    values |= {"is_active": True, "since": now - timedelta(minutes=1)}
    values |= _times(size, to_available=-10, to_held=0, to_funding=0, to_revenue=10, to_payouts=0)
    special: dict[Statement, list[Values]] = {
        payments._ENTRIES_OF: [{"before": 2**63 - 1, "limit": 101}],
        # Of one user and of all, with each filter that has an index of its own.
        payouts._PAGE: [
            {"user_id": user_id, "status": status, "recipient_type": "", "limit": 101}
            for user_id in (users[0], None)
            for status in ("", "PENDING", "FAILED")
        ],
        shop._PRODUCTS: [
            {"type": kind, "is_active": is_active, "limit": 101}
            for kind in ("", "PERMANENT")
            for is_active in (None, True, False)
        ],
        shop._PRODUCTS_CHANGED: [{"since": since, "after": NO_ID} for since in (EVER, now - timedelta(days=1))],
        shop._PURCHASES: [{"status": status, "limit": 101} for status in ("", "FAILED")],
        shop._POPULAR: [{"limit": 5}],
        payments._EXPIRED_HOLDS: [{"now": now + timedelta(minutes=1)}],
        housekeeping._CLEAN_INBOX: [
            {"before": first_id_at(time.time() - housekeeping.INBOX_SECONDS), "age": housekeeping.INBOX_SECONDS}
        ],
    }
    modules = (payments, payouts, shop, idempotency, inbox, outbox, dead_letters, housekeeping)
    return await _walks(connection, modules, values, special)


async def _walks(
    connection: Connection, modules: Sequence[ModuleType], values: Values, special: dict[Statement, list[Values]]
) -> list[str]:
    special = {
        housekeeping._CLEAN_KEYS: [{"age": housekeeping.KEY_SECONDS}],
        housekeeping._CLEAN_DEAD_LETTERS: [{"age": 90 * 24 * 3600.0}],
        dead_letters._BURY: [_A_LETTER],
        dead_letters._PAGE: [_A_LETTER],
        dead_letters._FIND: [_A_LETTER],
        dead_letters._DROP: [_A_LETTER],
        **special,
    }
    walks = []
    for statement in _written_in(modules):
        for own in special.get(statement, [{}]):
            chosen = {name: (values | own)[name] for name in statement.names}
            if tables := await scanned_whole(connection, statement, **chosen):
                walks.append(f"{', '.join(sorted(tables))}: {statement.text}")
    return walks


def _written_in(modules: Sequence[ModuleType]) -> Iterator[Statement]:
    for module in modules:
        yield from (value for value in vars(module).values() if isinstance(value, Statement))


async def _some(connection: Connection, columns: str, table: str, size: int) -> list[list[str]]:
    """Some columns of some rows, column by column."""
    rows = await connection.execute(sql(f"SELECT {columns} FROM {table} ORDER BY 1, 2 LIMIT :size"), size=size)
    return [[str(value) for value in column] for column in zip(*rows, strict=True)]


async def _a_product(connection: Connection) -> str:
    [row] = await connection.execute(sql("SELECT id FROM products LIMIT 1"))
    return str(row["id"])


def _of_a_service(users: list[str], ids: list[str], now: datetime, method: str) -> Values:
    """Values for parameters that several modules name alike."""
    size = len(users)
    values: Values = {
        "user_id": users[0],
        "user_ids": users,
        "order_id": ids[0],
        "order_ids": ids,
        "ids": ids,
        "now": now,
    }
    values |= {"before": new_id(), "limit": 500, "age": 5.0, "consumer": PAYMENTS_CHARGE.name}
    values |= {"method": method, "key": ids[0], "keys": ids, "request_hash": b"", "response": b""}
    values |= _times(size, methods=method, request_hashes=b"", responses=b"", currencies="RUB", refunded=10)
    return values | _times(size, subjects="s", payloads=b"", traceparents="")


def _times(size: int, **values: Any) -> Values:
    """What each of the rows has in some columns."""
    return {name: [value] * size for name, value in values.items()}
