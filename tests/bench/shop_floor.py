"""pgbench's floor of the shop: the statements of a purchase, and of reading an inventory, as the service sends them.

In the scratch database of floor.py. A purchase is one transaction, which also deletes the event of the one before.
"""

import re
from collections.abc import Mapping

import asyncpg

from kit import idempotency, outbox
from kit.db import Statement
from services.payments import repository, shop_repository
from services.payments.shop import MAX_KINDS
from stack.home import Stack
from tests.bench.floor import DATABASE, FUNDS, TRACE, payload, script, uuid

PRODUCTS = 3
USERS = 10_000
"""Who have inventories; clients are the first of them."""
PRICE = 100
ANSWER_BYTES, EVENT_BYTES = 215, 105
"""About what a purchase and its event weigh."""


async def prepare(stack: Stack) -> None:
    """Adds products to the scratch database, and gives each to every user."""
    scratch = await asyncpg.connect(stack.superuser_url(DATABASE))
    try:
        await scratch.execute(f"""
            INSERT INTO payments.products (id, name, description, price, currency, type, is_active, version, created_at,
                                           updated_at)
            SELECT {uuid("i")}, 'boost', 'What it is good for.', {PRICE}, 'RUB', 'CONSUMABLE', true, 1, now(), now()
            FROM generate_series(0, {PRODUCTS - 1}) AS i
        """)
        await scratch.execute(f"""
            INSERT INTO payments.goods (user_id, product_id, type, quantity, acquired_at, updated_at)
            SELECT {uuid("i")}, id, type, 3, now(), now()
            FROM generate_series(0, {USERS - 1}) AS i, payments.products
        """)
        await scratch.execute("VACUUM ANALYZE")
    finally:
        await scratch.close()


def purchase(pipelined: bool) -> str:
    """Returns the script of one purchase, for pgbench."""
    statements = "".join(filled(statement, _VALUES | more) for statement, more in _PURCHASE)
    return f"\\set product random(0, {PRODUCTS - 1})\n" + script([f"\nBEGIN;\n{statements}COMMIT;\n"], pipelined)


def inventory() -> str:
    """Returns the script of reading one inventory, for pgbench."""
    values = {"user_id": uuid(":reader::bigint"), "limit": str(MAX_KINDS)}
    return f"\\set reader random(0, {USERS - 1})\n" + filled(shop_repository._INVENTORY_OF, values)


def filled(statement: Statement, values: Mapping[str, str]) -> str:
    """Returns a statement with SQL in place of its parameters, by their names."""
    return re.sub(r"\$(\d+)", lambda found: values[statement.names[int(found[1]) - 1]], statement.text) + ";\n"


_USER, _PRODUCT = uuid(":user::bigint"), uuid(":product::bigint")
_ID, _EVENT, _EVENT_BEFORE = uuid(":order::bigint"), uuid(":created::bigint"), uuid("(:created::bigint - 8)")
_MANY = {
    "user_ids": _USER,
    "numbers_before": ":n::bigint - 1",
    "numbers": ":n::bigint",
    "balances": str(FUNDS),
    "held": "0",
    "hashes": payload(32),
    "moments": "now()",
    "kinds": "'PURCHASE'",
    "order_ids": "NULL",
    "payout_ids": "NULL",
    "purchase_ids": _ID,
    "currencies": "'RUB'",
    "to_available": str(-PRICE),
    "to_held": "0",
    "to_funding": "0",
    "to_revenue": str(PRICE),
    "to_payouts": "0",
    "subjects": "'shop.inventory_changed'",
    "payloads": payload(EVENT_BYTES),
    "traceparents": f"'{TRACE}'",
    "methods": "'PurchaseProduct'",
    "keys": _ID,
    "request_hashes": payload(32),
    "responses": payload(ANSWER_BYTES),
    "product_ids": _PRODUCT,
    "ids": _ID,
    "names": "'boost'",
    "types": "'CONSUMABLE'",
    "quantities": "1",
    "prices": str(PRICE),
    "total_prices": str(PRICE),
    "statuses": "'COMPLETED'",
    "reasons": "''",
}
_VALUES = {"now": "now()", **{name: f"ARRAY[{value}]" for name, value in _MANY.items()}}
# What a batch of one purchase executes for somebody who owns some of the product; in the service it is the relay that
# deletes.
_PURCHASE: tuple[tuple[Statement, dict[str, str]], ...] = (
    (shop_repository._PRODUCTS_BY_ID, {}),
    (repository._LOCK_ACCOUNTS, {}),
    (idempotency._FIRST_ALL, {}),
    (shop_repository._SHELVES_OF, {}),
    (repository._MOVE_ACCOUNTS, {}),
    (repository._INSERT_TRANSACTIONS, {}),
    (shop_repository._ADD_GOODS, {}),
    (idempotency._CLAIM_ALL, {}),
    (shop_repository._INSERT_PURCHASES, {}),
    (outbox._ADD, {"ids": f"ARRAY[{_EVENT}]"}),
    (outbox._DELETE, {"ids": f"ARRAY[{_EVENT_BEFORE}]"}),
)
