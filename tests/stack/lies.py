"""A lie, or more, for each rule of `gozon check`, told of the rows that tests/stack/test_check.py makes."""


def one(table: str, key: str, such: str) -> str:
    """The condition for the first row of a kind."""
    return f"({key}) = (SELECT {key} FROM {table} WHERE {such} ORDER BY {key} LIMIT 1)"


LONG_AGO = "now() - interval '1 hour'"
# Rows of which a lie is told; all in one account, for what is said about those is compared.
PAID = one("orders", "user_id, id", "status = 'PAID' AND refunded_price = 0")
ON_HOLD = one("orders", "user_id, id", "status = 'AUTHORIZED'")
REFUND = one("refunds", "user_id, order_id, id", "status = 'SUCCEEDED' AND amount = 30")
CHANGE = one("order_changes", "user_id, order_id, version", "status = 'PAID'")
CAPTURED = one("payments", "user_id, order_id", "status = 'CAPTURED' AND refunded = 0 AND expires_at IS NULL")
OPEN_HOLD = one("payments", "user_id, order_id", "status = 'AUTHORIZED' AND requested_by = 'ADMIN'")
GAVE_BACK = one("payments", "user_id, order_id", "status = 'REVERSED' AND captured > 0")
DECIDED = one("refunds", "user_id, order_id, refund_id", "status = 'SUCCEEDED' AND amount = 30")
CHARGE = one("transactions", "user_id, number", "kind = 'CHARGE' AND balance > 1000")
PAID_OUT = one("payouts", "user_id, id", "status = 'COMPLETED'")
RICH_ONE = one("accounts", "user_id", "balance > 1000")
OF_ORDER = "RETURNING user_id, id AS order_id"
OF_REFUND = "RETURNING user_id, order_id, id AS refund_id"
OF_PAYMENT = "RETURNING user_id, order_id"
OF_PAYOUT = "RETURNING user_id, id AS payout_id"
OF_TRANSACTION = "RETURNING user_id, number"
OUTBOX = f"""INSERT INTO outbox (id, subject, payload, traceparent, created_at)
             VALUES (gen_random_uuid(), 'orders.paid', '', '', {LONG_AGO}) RETURNING id"""
# Rule, database, and the lie, which returns what names the row that lies.
LIES = [
    (
        "an order does not stay PENDING",
        "orders",
        f"UPDATE orders SET status = 'PENDING', asked_at = now(), created_at = {LONG_AGO} WHERE {PAID} {OF_ORDER}",
    ),
    (
        "an order that asks for its capture or its reversal gets an answer",
        "orders",
        f"UPDATE orders SET asked_at = now(), updated_at = {LONG_AGO} WHERE {ON_HOLD} {OF_ORDER}",
    ),
    (
        "an order that waits for an answer, and no other, will ask again",
        "orders",
        f"UPDATE orders SET asked_at = now() WHERE {PAID} {OF_ORDER}",
    ),
    (
        "an order that waits for an answer, and no other, will ask again",
        "orders",
        f"UPDATE orders SET status = 'PENDING' WHERE {PAID} {OF_ORDER}",
    ),
    (
        "an order that waits for an answer, and no other, will ask again",
        "orders",
        f"UPDATE orders SET shipped_by = user_id WHERE {ON_HOLD} {OF_ORDER}",
    ),
    (
        "what was paid and given back fits the order's status",
        "orders",
        f"UPDATE orders SET paid_price = 0 WHERE {PAID} {OF_ORDER}",
    ),
    (
        "what was paid and given back fits the order's status",
        "orders",
        f"UPDATE orders SET refunded_price = paid_price + 1 WHERE {PAID} {OF_ORDER}",
    ),
    (
        "what an order got back is the sum of its refunds",
        "orders",
        f"UPDATE refunds SET amount = amount + 1 WHERE {REFUND} RETURNING user_id, order_id",
    ),
    ("an order is what its history led to", "orders", f"UPDATE orders SET version = 9 WHERE {PAID} {OF_ORDER}"),
    (
        "an order is what its history led to",
        "orders",
        f"UPDATE order_changes SET status = 'SHIPPED' WHERE {CHANGE} RETURNING user_id, order_id",
    ),
    (
        "an order is what its history led to",
        "orders",
        f"DELETE FROM order_changes WHERE {CHANGE} RETURNING user_id, order_id",
    ),
    (
        "what happened, happened to an order",
        "orders",
        f"UPDATE order_changes SET order_id = gen_random_uuid() WHERE {CHANGE} RETURNING user_id, order_id",
    ),
    (
        "a refund does not stay PENDING",
        "orders",
        f"UPDATE refunds SET status = 'PENDING', asked_at = now(), created_at = {LONG_AGO} WHERE {REFUND} {OF_REFUND}",
    ),
    (
        "a refund that waits for an answer, and no other, will be asked for again",
        "orders",
        f"UPDATE refunds SET asked_at = now() WHERE {REFUND} {OF_REFUND}",
    ),
    (
        "a refund belongs to an order",
        "orders",
        f"UPDATE refunds SET order_id = gen_random_uuid() WHERE {REFUND} {OF_REFUND}",
    ),
    ("events of Orders are published", "orders", OUTBOX),
    ("events of Payments are published", "payments", OUTBOX),
    (
        "an order and its payment agree",
        "orders",
        f"UPDATE orders SET total_price = total_price + 1 WHERE {PAID} {OF_ORDER}",
    ),
    ("an order and its payment agree", "orders", f"DELETE FROM orders WHERE {PAID} {OF_ORDER}"),
    ("an order and its payment agree", "payments", f"DELETE FROM payments WHERE {CAPTURED} {OF_PAYMENT}"),
    (
        "Orders and Payments agree about a refund",
        "orders",
        f"UPDATE refunds SET status = 'FAILED' WHERE {REFUND} {OF_REFUND}",
    ),
    (
        "Orders and Payments agree about a refund",
        "payments",
        f"DELETE FROM refunds WHERE {DECIDED} RETURNING user_id, order_id, refund_id",
    ),
    (
        "a hold is released when its time is over",
        "payments",
        f"UPDATE payments SET expires_at = {LONG_AGO} WHERE {OPEN_HOLD} {OF_PAYMENT}",
    ),
    (
        "a payment that failed moved nothing",
        "payments",
        f"UPDATE payments SET status = 'FAILED', captured = 0 WHERE {CAPTURED} {OF_PAYMENT}",
    ),
    (
        "a payment was taken by one CHARGE or CAPTURE, or not at all",
        "payments",
        f"UPDATE payments SET captured = captured + 1 WHERE {CAPTURED} {OF_PAYMENT}",
    ),
    (
        # All for one order, none for the others.
        "a payment was taken by one CHARGE or CAPTURE, or not at all",
        "payments",
        f"""UPDATE transactions SET order_id = (SELECT order_id FROM payments WHERE {CAPTURED})
            WHERE kind = 'CHARGE' AND balance > 1000 RETURNING user_id, order_id""",
    ),
    (
        "a hold is held once, and captured or released once",
        "payments",
        f"UPDATE payments SET expires_at = now() WHERE {CAPTURED} {OF_PAYMENT}",
    ),
    (
        "a hold is held once, and captured or released once",
        "payments",
        f"UPDATE payments SET status = 'RELEASED' WHERE {OPEN_HOLD} {OF_PAYMENT}",
    ),
    (
        "a payment that was released or reversed gave everything back",
        "payments",
        f"UPDATE payments SET refunded = refunded - 1 WHERE {GAVE_BACK} {OF_PAYMENT}",
    ),
    (
        "what a payment gave back are its REFUND transactions",
        "payments",
        f"UPDATE payments SET refunded = refunded + 1 WHERE {CAPTURED} {OF_PAYMENT}",
    ),
    (
        "what a payment gave back is the sum of its refunds",
        "payments",
        f"UPDATE refunds SET amount = amount + 1 WHERE {DECIDED} RETURNING user_id, order_id",
    ),
    (
        "a payment that moved money is in the account's currency",
        "payments",
        f"UPDATE payments SET currency = 'USD' WHERE {CAPTURED} {OF_PAYMENT}",
    ),
    (
        "money that moved for an order moved for its payment",
        "payments",
        f"DELETE FROM payments WHERE {CAPTURED} {OF_PAYMENT}",
    ),
    (
        "a refund belongs to a payment",
        "payments",
        f"UPDATE refunds SET order_id = gen_random_uuid() WHERE {DECIDED} RETURNING user_id, order_id, refund_id",
    ),
    (
        "a transaction has two entries or more, and they sum to zero",
        "payments",
        f"UPDATE transactions SET to_revenue = to_revenue + 1 WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "a transaction has two entries or more, and they sum to zero",
        "payments",
        f"UPDATE transactions SET to_available = 0, to_revenue = 0 WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "each kind of transaction moves money its own way",
        "payments",
        f"UPDATE transactions SET to_payouts = to_revenue, to_revenue = 0 WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "each kind of transaction moves money its own way",
        "payments",
        f"UPDATE transactions SET order_id = NULL WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "transactions are numbered without a gap",
        "payments",
        f"DELETE FROM transactions WHERE {CHARGE} RETURNING user_id, number + 1 AS number",
    ),
    (
        "transactions are in the sequence of their time",
        "payments",
        f"UPDATE transactions SET created_at = {LONG_AGO} WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "the hash of a transaction is over it and the hash before",
        "payments",
        f"UPDATE transactions SET hash = sha256(hash) WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "the hash of a transaction is over it and the hash before",
        "payments",
        f"UPDATE transactions SET created_at = created_at + interval '1 us' WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "the hash of a transaction is over it and the hash before",
        "payments",
        f"UPDATE transactions SET order_id = gen_random_uuid() WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "the hash of a transaction is over it and the hash before",
        "payments",
        f"UPDATE transactions SET to_funding = -1, to_revenue = to_revenue + 1 WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "the balance after a transaction is the sum of the entries so far",
        "payments",
        f"UPDATE transactions SET balance = balance + 1 WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "the balance after a transaction is the sum of the entries so far",
        "payments",
        f"UPDATE transactions SET held = held + 1 WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "0 <= held <= balance after each transaction",
        "payments",
        f"UPDATE transactions SET held = balance + 1 WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "a transaction is in the currency of its account",
        "payments",
        f"UPDATE transactions SET currency = 'USD' WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "a transaction is in the currency of its account",
        "payments",
        f"DELETE FROM accounts WHERE {RICH_ONE} RETURNING user_id",
    ),
    (
        "an account ends where its chain of transactions ends",
        "payments",
        f"UPDATE accounts SET hash = '' WHERE {RICH_ONE} RETURNING user_id",
    ),
    (
        # The last transaction is gone: the chain itself shows no gap.
        "an account ends where its chain of transactions ends",
        "payments",
        """WITH last AS (SELECT user_id, number FROM accounts WHERE balance > 1000)
           DELETE FROM transactions USING last
           WHERE transactions.user_id = last.user_id AND transactions.number = last.number
           RETURNING transactions.user_id""",
    ),
    (
        "a balance is the sum of its entries",
        "payments",
        f"UPDATE accounts SET balance = balance + 1 WHERE {RICH_ONE} RETURNING user_id",
    ),
    (
        "what an account holds is held for payments and payouts",
        "payments",
        f"UPDATE payments SET amount = amount + 1 WHERE {OPEN_HOLD} RETURNING user_id",
    ),
    (
        "what an account holds is held for payments and payouts",
        "payments",
        f"UPDATE payouts SET status = 'PENDING' WHERE {PAID_OUT} RETURNING user_id",
    ),
    (
        "a payout is held for once, and then paid once or released once, as its status says",
        "payments",
        f"UPDATE payouts SET status = 'CANCELED' WHERE {PAID_OUT} {OF_PAYOUT}",
    ),
    (
        "a payout is held for once, and then paid once or released once, as its status says",
        "payments",
        f"UPDATE payouts SET status = 'FAILED', failure_reason = 'x' WHERE {PAID_OUT} {OF_PAYOUT}",
    ),
    (
        # All for one payout, none for the others.
        "a payout is held for once, and then paid once or released once, as its status says",
        "payments",
        f"""UPDATE transactions SET payout_id = (SELECT id FROM payouts WHERE {PAID_OUT})
            WHERE payout_id IS NOT NULL RETURNING user_id, payout_id""",
    ),
    (
        "what was paid out are the COMPLETED payouts",
        "payments",
        f"UPDATE payouts SET amount = amount - 1 WHERE {PAID_OUT} {OF_PAYOUT}",
    ),
    (
        "a payout is in the currency of its account",
        "payments",
        f"UPDATE payouts SET currency = 'USD' WHERE {PAID_OUT} {OF_PAYOUT}",
    ),
    (
        "a payout that FAILED says why, and only what was CANCELED is deleted",
        "payments",
        f"UPDATE payouts SET failure_reason = 'x' WHERE {PAID_OUT} {OF_PAYOUT}",
    ),
    (
        "a payout that FAILED says why, and only what was CANCELED is deleted",
        "payments",
        f"UPDATE payouts SET deleted_at = now() WHERE {PAID_OUT} {OF_PAYOUT}",
    ),
    (
        "a payout comes to its end",
        "payments",
        f"UPDATE payouts SET status = 'PROCESSING', updated_at = {LONG_AGO} WHERE {PAID_OUT} {OF_PAYOUT}",
    ),
    (
        "a payout that has not ended, and no other, will be asked for again",
        "payments",
        f"UPDATE payouts SET status = 'PROCESSING' WHERE {PAID_OUT} {OF_PAYOUT}",
    ),
    (
        "a payout that has not ended, and no other, will be asked for again",
        "payments",
        f"UPDATE payouts SET asked_at = now() WHERE {PAID_OUT} {OF_PAYOUT}",
    ),
    (
        "money that moved for a payout moved for one that is there",
        "payments",
        f"DELETE FROM payouts WHERE {PAID_OUT} {OF_PAYOUT}",
    ),
    (
        "each kind of transaction moves money its own way",
        "payments",
        f"UPDATE transactions SET payout_id = gen_random_uuid() WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    ("0 <= held <= balance", "payments", f"UPDATE accounts SET held = balance + 1 WHERE {RICH_ONE} RETURNING user_id"),
    ("0 <= held <= balance", "payments", f"UPDATE accounts SET held = -1 WHERE {RICH_ONE} RETURNING user_id"),
]
# A superuser who has switched off all that guards the tables.
UNGUARDED = """
    SET session_replication_role = replica;
    DO $$
    DECLARE guard record;
    BEGIN
        FOR guard IN SELECT conrelid::regclass AS relation, conname FROM pg_constraint
            WHERE contype = 'c' AND connamespace = 'public'::regnamespace LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', guard.relation, guard.conname);
        END LOOP;
    END $$
"""
