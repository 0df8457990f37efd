"""payments instead of charges; refunds; the ledger: transactions in a chain per account, entries that never change"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# What was booked so far, numbered per account, with the balance after it; nothing was ever held.
_NUMBERED = """
    CREATE TEMPORARY TABLE numbered ON COMMIT DROP AS
    SELECT user_id, transaction_id, currency, created_at, amount,
           CASE WHEN amount > 0 THEN 'DEPOSIT' ELSE 'CHARGE' END AS kind,
           row_number() OVER chain AS number, sum(amount) OVER chain AS balance
    FROM booked_entries WHERE account = 'user'
    WINDOW chain AS (PARTITION BY user_id ORDER BY created_at, transaction_id)
"""
# Each hash is over the one before it and the text that services/payments/ledger.py makes.
_CHAIN = """
    DO $$
    DECLARE
        booked numbered;
        previous bytea;
        moved text;
    BEGIN
        FOR booked IN SELECT * FROM numbered ORDER BY user_id, number LOOP
            IF booked.number = 1 THEN
                previous := '';
            END IF;
            moved := 'available:' || booked.amount || ','
                || CASE booked.kind WHEN 'DEPOSIT' THEN 'funding' ELSE 'revenue' END || ':' || -booked.amount;
            previous := sha256(previous || convert_to(concat_ws('|', booked.user_id, booked.number, booked.kind,
                CASE booked.kind WHEN 'CHARGE' THEN booked.transaction_id::text ELSE '' END, booked.currency, moved,
                booked.balance, 0, (extract(epoch FROM booked.created_at) * 1000000)::bigint), 'UTF8'));
            INSERT INTO transactions (user_id, number, kind, order_id, currency, to_available, to_held, to_funding,
                                      to_revenue, to_payouts, balance, held, created_at, hash)
            VALUES (booked.user_id, booked.number, booked.kind,
                    CASE booked.kind WHEN 'CHARGE' THEN booked.transaction_id END, booked.currency, booked.amount, 0,
                    CASE booked.kind WHEN 'DEPOSIT' THEN -booked.amount ELSE 0 END,
                    CASE booked.kind WHEN 'CHARGE' THEN -booked.amount ELSE 0 END, 0,
                    booked.balance, 0, booked.created_at, previous);
        END LOOP;
    END $$
"""
_REFUSE_CHANGES = """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the ledger never changes: % of %', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END $$
"""
# One line for each account that a transaction moves, as accountants write it.
_ENTRIES = """
    CREATE VIEW entries AS
    SELECT user_id, number, account, amount
    FROM transactions CROSS JOIN LATERAL (VALUES
        ('available', to_available), ('held', to_held), ('funding', to_funding), ('revenue', to_revenue),
        ('payouts', to_payouts)
    ) AS entry (account, amount)
    WHERE amount <> 0
"""


def upgrade() -> None:
    op.create_table(
        "payments",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("captured", sa.BigInteger, nullable=False),
        sa.Column("refunded", sa.BigInteger, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount > 0", name="payments_amount_positive"),
        sa.CheckConstraint(
            "0 <= refunded AND refunded <= captured AND captured <= amount", name="payments_amounts_agree"
        ),
        sa.CheckConstraint(
            "status IN ('FAILED', 'AUTHORIZED', 'CAPTURED', 'RELEASED', 'REVERSED')", name="payments_status_known"
        ),
        sa.CheckConstraint("(status IN ('FAILED', 'RELEASED')) = (reason <> '')", name="payments_ended_with_reason"),
        sa.CheckConstraint("(status = 'CAPTURED') <= (captured > 0)", name="payments_captured_something"),
        sa.CheckConstraint(
            "status NOT IN ('RELEASED', 'REVERSED') OR refunded = captured", name="payments_given_back_wholly"
        ),
        sa.CheckConstraint("requested_by IN ('ORDERS', 'ADMIN')", name="payments_requested_by_known"),
    )
    op.create_index(
        "payments_held", "payments", ["expires_at"], postgresql_where=sa.text("status = 'AUTHORIZED'::text")
    )
    op.execute("""
        INSERT INTO payments
        SELECT user_id, order_id, CASE status WHEN 'SUCCEEDED' THEN 'CAPTURED' ELSE 'FAILED' END, reason, amount,
               currency, CASE status WHEN 'SUCCEEDED' THEN amount ELSE 0 END, 0, 'ORDERS', NULL, created_at, created_at
        FROM charges
    """)
    op.drop_table("charges")
    op.create_table(
        "refunds",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("refund_id", sa.Uuid, primary_key=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("refunded", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount > 0", name="refunds_amount_positive"),
        sa.CheckConstraint("status IN ('SUCCEEDED', 'FAILED')", name="refunds_status_known"),
    )

    op.rename_table("entries", "booked_entries")
    op.create_table(
        "transactions",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("order_id", sa.Uuid),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("to_available", sa.BigInteger, nullable=False),
        sa.Column("to_held", sa.BigInteger, nullable=False),
        sa.Column("to_funding", sa.BigInteger, nullable=False),
        sa.Column("to_revenue", sa.BigInteger, nullable=False),
        sa.Column("to_payouts", sa.BigInteger, nullable=False),
        sa.Column("balance", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.CheckConstraint(
            "to_available + to_held + to_funding + to_revenue + to_payouts = 0", name="transactions_balance"
        ),
        sa.CheckConstraint(
            "to_available <> 0 OR to_held <> 0 OR to_funding <> 0 OR to_revenue <> 0",
            name="transactions_move_something",
        ),
        sa.CheckConstraint(
            "kind IN ('DEPOSIT', 'CHARGE', 'HOLD', 'CAPTURE', 'RELEASE', 'REFUND')", name="transactions_kind_known"
        ),
    )
    op.execute(_NUMBERED)
    op.execute(_CHAIN)
    op.drop_table("booked_entries")
    op.add_column("accounts", sa.Column("number", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("accounts", sa.Column("hash", sa.LargeBinary, nullable=False, server_default=""))
    # Who waited for a lock had looked at the clock before: the last to write was not always the last by its time.
    op.execute("""
        UPDATE accounts
        SET number = last.number, hash = last.hash, updated_at = greatest(accounts.updated_at, last.created_at)
        FROM (
            SELECT DISTINCT ON (user_id) user_id, number, hash, created_at FROM transactions
            ORDER BY user_id, number DESC
        ) AS last
        WHERE accounts.user_id = last.user_id
    """)
    op.alter_column("accounts", "number", server_default=None)
    op.alter_column("accounts", "hash", server_default=None)

    op.execute(_REFUSE_CHANGES)
    op.execute("""
        CREATE TRIGGER transactions_never_change BEFORE UPDATE OR DELETE OR TRUNCATE ON transactions
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)
    op.execute(_ENTRIES)
