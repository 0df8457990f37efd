"""What must be true after every step, and what when everything has come to rest."""

from typing import Any

from gozon.payouts.v1.payouts_pb2 import Payout
from kit.db import Database, Row, sql
from tests.money.world import Users, World

# Each returns the rows that lie.
ALWAYS_IN_PAYMENTS = {
    "entries sum to zero": """
        SELECT user_id, number, sum(amount) FROM entries WHERE user_id = ANY(:user_ids::uuid[])
        GROUP BY 1, 2 HAVING sum(amount) <> 0
    """,
    "an account is the end of its chain and the sum of its entries": """
        SELECT accounts.user_id, accounts.balance, accounts.held, accounts.number, booked.*, last.* FROM accounts
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(amount) FILTER (WHERE account IN ('available', 'held')), 0) AS balance,
                   coalesce(sum(amount) FILTER (WHERE account = 'held'), 0) AS held
            FROM entries WHERE entries.user_id = accounts.user_id
        ) AS booked
        CROSS JOIN LATERAL (
            SELECT count(*) AS transactions, coalesce(max(number), 0) AS number FROM transactions
            WHERE transactions.user_id = accounts.user_id
        ) AS last
        WHERE accounts.user_id = ANY(:user_ids::uuid[]) AND NOT (
            accounts.balance = booked.balance AND accounts.held = booked.held AND booked.held >= 0
            AND booked.balance >= booked.held AND accounts.number = last.number AND last.transactions = last.number)
    """,
    "what is held is held for payments and payouts": """
        SELECT accounts.user_id, accounts.held, sum(amount) FROM accounts
        LEFT JOIN (
            SELECT user_id, amount FROM payments WHERE status = 'AUTHORIZED'
            UNION ALL
            SELECT user_id, amount FROM payouts WHERE status IN ('PENDING', 'PROCESSING')
        ) AS holds ON holds.user_id = accounts.user_id
        WHERE accounts.user_id = ANY(:user_ids::uuid[])
        GROUP BY 1, 2 HAVING accounts.held <> coalesce(sum(amount), 0)
    """,
    "a payment is what was booked for it": """
        SELECT payments.*, booked.* FROM payments
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(amount) FILTER (WHERE kind IN ('CHARGE', 'CAPTURE')), 0) AS captured,
                   coalesce(-sum(amount) FILTER (WHERE kind = 'REFUND'), 0) AS refunded,
                   count(*) FILTER (WHERE kind IN ('CHARGE', 'CAPTURE')) AS times
            FROM transactions JOIN entries USING (user_id, number)
            WHERE transactions.user_id = payments.user_id AND order_id = payments.order_id AND account = 'revenue'
        ) AS booked
        WHERE payments.user_id = ANY(:user_ids::uuid[]) AND NOT (
            payments.captured = booked.captured AND payments.refunded = booked.refunded AND booked.times <= 1)
    """,
    "goods are what was bought and is not used up, and what is PERMANENT is owned once": """
        SELECT goods.* FROM goods
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(quantity), 0) AS bought FROM purchases
            WHERE purchases.user_id = goods.user_id AND product_id = goods.product_id AND status = 'COMPLETED'
        ) AS bought
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(quantity), 0) AS used FROM uses
            WHERE uses.user_id = goods.user_id AND product_id = goods.product_id
        ) AS used
        WHERE user_id = ANY(:user_ids::uuid[]) AND NOT (
            quantity = bought - used AND quantity >= 0 AND (type = 'CONSUMABLE' OR bought = 1))
    """,
}
ALWAYS_IN_ORDERS = {
    "Payments is asked exactly by those who wait": """
        SELECT id, status, asked_at FROM orders WHERE user_id = ANY(:user_ids::uuid[])
        AND (status = 'PENDING' AND asked_at IS NULL OR status IN ('PAID', 'SHIPPED') AND asked_at IS NOT NULL)
    """,
    "nothing comes back that was not paid": """
        SELECT id, paid_price, refunded_price FROM orders WHERE user_id = ANY(:user_ids::uuid[])
        AND NOT (0 <= refunded_price AND refunded_price <= paid_price AND paid_price <= total_price)
    """,
    "the history has every change, and each refund once": """
        SELECT id, version, told.* FROM orders
        CROSS JOIN LATERAL (
            SELECT count(*) AS changes, coalesce(sum(refunded), 0) AS refunded FROM order_changes
            WHERE order_changes.user_id = orders.user_id AND order_id = orders.id
        ) AS told
        WHERE user_id = ANY(:user_ids::uuid[]) AND NOT (told.changes = version - 1 AND told.refunded = refunded_price)
    """,
}
ORDERS = sql("SELECT * FROM orders WHERE user_id = ANY(:user_ids::uuid[])")
PAYMENTS = sql("SELECT * FROM payments WHERE user_id = ANY(:user_ids::uuid[])")
REFUNDS_OF_ORDERS = sql("SELECT id, status, amount FROM refunds WHERE user_id = ANY(:user_ids::uuid[])")
REFUNDS_OF_PAYMENTS = sql("SELECT refund_id AS id, status, amount FROM refunds WHERE user_id = ANY(:user_ids::uuid[])")
DEPOSITED = sql("""
    SELECT user_id, sum(-amount) AS amount FROM entries WHERE user_id = ANY(:user_ids::uuid[]) AND account = 'funding'
    GROUP BY 1
""")
PURCHASES = sql("SELECT id, user_id, status, total_price FROM purchases WHERE user_id = ANY(:user_ids::uuid[])")
PAYOUTS = sql("SELECT id, user_id, status, amount FROM payouts WHERE user_id = ANY(:user_ids::uuid[])")
BALANCES = sql("SELECT user_id, balance FROM accounts WHERE user_id = ANY(:user_ids::uuid[])")


async def hold_always(world: World, users: Users) -> None:
    """Checks what must be true after every step."""
    for database, rules in ((world.payments_db, ALWAYS_IN_PAYMENTS), (world.orders_db, ALWAYS_IN_ORDERS)):
        async with database.autocommit() as connection:
            for name, rule in rules.items():
                lies = await connection.execute(sql(rule), user_ids=users.ids)
                assert not lies, (name, lies)
    # Orders first: what it says was said by Payments before.
    orders = await _by_id(world.orders_db, users, "id", ORDERS)
    payments = await _by_id(world.payments_db, users, "order_id", PAYMENTS)
    for order_id, order in orders.items():
        payment = payments.get(order_id)
        if order["status"] in ("PAID", "SHIPPED"):
            assert payment is not None, order
            assert (payment["status"], payment["captured"]) == ("CAPTURED", order["paid_price"]), (order, payment)
            assert payment["refunded"] >= order["refunded_price"], (order, payment)
        if order["status"] == "AUTHORIZED":
            assert payment is not None, order
            assert payment["status"] in ("AUTHORIZED", "CAPTURED", "RELEASED"), (order, payment)


async def hold_at_rest(world: World, users: Users) -> None:
    """Checks what must be true when every event was delivered and every question answered."""
    await hold_always(world, users)
    orders = await _by_id(world.orders_db, users, "id", ORDERS)
    payments = await _by_id(world.payments_db, users, "order_id", PAYMENTS)
    ends = {
        "AUTHORIZED": {"AUTHORIZED"},
        "PAID": {"CAPTURED"},
        "SHIPPED": {"CAPTURED"},
        "CANCELED": {"FAILED", "RELEASED", "REVERSED"},
    }
    for order_id, order in orders.items():
        payment = payments[order_id]
        assert payment["status"] in ends.get(order["status"], set()), (order, payment)
        assert order["asked_at"] is None, order
        ours = payment["requested_by"] == "ORDERS"
        moved = (payment["captured"], payment["refunded"]) if ours else (0, 0)
        assert moved == (order["paid_price"], order["refunded_price"]), (order, payment)
        assert order["status"] != "CANCELED" or payment["captured"] == payment["refunded"], (order, payment)
    asked = await _by_id(world.orders_db, users, "id", REFUNDS_OF_ORDERS)
    given = await _by_id(world.payments_db, users, "id", REFUNDS_OF_PAYMENTS)
    assert {i: tuple(row) for i, row in asked.items()} == {i: tuple(row) for i, row in given.items()}
    await _money_is_conserved(world, users, payments)


async def _money_is_conserved(world: World, users: Users, payments: dict[Any, Row]) -> None:
    payouts = await _by_id(world.payments_db, users, "id", PAYOUTS)
    for payout_id, payout in payouts.items():
        # Nothing was paid by the provider that ended in another way here.
        said = world.provider.get(str(payout_id), Payout.CANCELED)
        assert payout["status"] == Payout.Status.Name(said), payout
    purchases = await _by_id(world.payments_db, users, "id", PURCHASES)
    async with world.payments_db.autocommit() as connection:
        deposited = {r["user_id"]: r["amount"] for r in await connection.execute(DEPOSITED, user_ids=users.ids)}
        balances = {r["user_id"]: r["balance"] for r in await connection.execute(BALANCES, user_ids=users.ids)}
    for user_id, balance in balances.items():
        spent = sum(p["captured"] - p["refunded"] for p in payments.values() if p["user_id"] == user_id)
        spent += sum(p["amount"] for p in payouts.values() if (p["user_id"], p["status"]) == (user_id, "COMPLETED"))
        spent += sum(
            p["total_price"] for p in purchases.values() if (p["user_id"], p["status"]) == (user_id, "COMPLETED")
        )
        assert balance == deposited.get(user_id, 0) - spent
        # Each key was used until it succeeded, so each is there, once.
        wanted = sum(amount for (owner, _), amount in users.deposits.items() if owner == str(user_id))
        assert deposited.get(user_id, 0) == wanted


async def _by_id(database: Database, users: Users, column: str, statement: Any) -> dict[Any, Row]:
    async with database.autocommit() as connection:
        return {row[column]: row for row in await connection.execute(statement, user_ids=users.ids)}
