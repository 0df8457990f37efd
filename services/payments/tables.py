"""Tables of Payments."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)

from kit import schema

metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("balance", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    # Of the last of its transactions.
    Column("number", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("held >= 0", name="accounts_held_not_negative"),
    CheckConstraint("balance >= held", name="accounts_available_not_negative"),
)

# What was decided about an order, and what became of it: the primary key is what makes a second payment impossible.
payments = Table(
    "payments",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("order_id", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("captured", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False),
    # ORDERS; or ADMIN for a hold that an admin made, as long as its order has not asked for the money.
    Column("requested_by", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("amount > 0", name="payments_amount_positive"),
    CheckConstraint("0 <= refunded AND refunded <= captured AND captured <= amount", name="payments_amounts_agree"),
    CheckConstraint(
        "status IN ('FAILED', 'AUTHORIZED', 'CAPTURED', 'RELEASED', 'REVERSED')", name="payments_status_known"
    ),
    CheckConstraint("(status IN ('FAILED', 'RELEASED')) = (reason <> '')", name="payments_ended_with_reason"),
    CheckConstraint("(status = 'CAPTURED') <= (captured > 0)", name="payments_captured_something"),
    CheckConstraint("status NOT IN ('RELEASED', 'REVERSED') OR refunded = captured", name="payments_given_back_wholly"),
    CheckConstraint("requested_by IN ('ORDERS', 'ADMIN')", name="payments_requested_by_known"),
    # For the sweeper that releases what is held for too long.
    Index("payments_held", "expires_at", postgresql_where=text("status = 'AUTHORIZED'::text")),
)

# What was decided about each refund.
refunds = Table(
    "refunds",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("order_id", Uuid, primary_key=True),
    Column("refund_id", Uuid, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("refunded", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("amount > 0", name="refunds_amount_positive"),
    CheckConstraint("status IN ('SUCCEEDED', 'FAILED')", name="refunds_status_known"),
)

# The ledger: a chain of transactions for each account, numbered without a gap, each with the hash of the one before it
# in its own. What comes to an account of the ledger, or below zero leaves it, has a column, so that a row is in balance
# or refused; the view `entries` has a line for each. A trigger (migration 0003) refuses UPDATE, DELETE and TRUNCATE.
transactions = Table(
    "transactions",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("order_id", Uuid),
    Column("currency", Text, nullable=False),
    Column("to_available", BigInteger, nullable=False),
    Column("to_held", BigInteger, nullable=False),
    Column("to_funding", BigInteger, nullable=False),
    Column("to_revenue", BigInteger, nullable=False),
    Column("to_payouts", BigInteger, nullable=False),
    # The user's, after it.
    Column("balance", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("to_available + to_held + to_funding + to_revenue + to_payouts = 0", name="transactions_balance"),
    CheckConstraint(
        "to_available <> 0 OR to_held <> 0 OR to_funding <> 0 OR to_revenue <> 0", name="transactions_move_something"
    ),
    CheckConstraint(
        "kind IN ('DEPOSIT', 'CHARGE', 'HOLD', 'CAPTURE', 'RELEASE', 'REFUND')", name="transactions_kind_known"
    ),
)

inbox = schema.inbox(metadata)
outbox = schema.outbox(metadata)
idempotency_keys = schema.idempotency_keys(metadata)
dead_letters = schema.dead_letters(metadata)
