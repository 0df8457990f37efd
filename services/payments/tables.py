"""Tables of Payments."""

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, MetaData, Table, Text, Uuid

from kit import schema

metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("balance", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("held >= 0", name="accounts_held_not_negative"),
    CheckConstraint("balance >= held", name="accounts_available_not_negative"),
)

# What was decided about an order, once and for all: the primary key is what makes a second charge impossible.
charges = Table(
    "charges",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("order_id", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("amount > 0", name="charges_amount_positive"),
    CheckConstraint("status IN ('SUCCEEDED', 'FAILED')", name="charges_status_known"),
    CheckConstraint("(status = 'FAILED') = (reason <> '')", name="charges_failed_with_reason"),
)

# The ledger: the entries of a transaction sum to zero. A charge's transaction id is its order's id. The accounts
# "funding" and "revenue" belong to the system and have no row in accounts that everybody would fight over: their
# balance is the sum of their entries.
entries = Table(
    "entries",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("transaction_id", Uuid, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("amount <> 0", name="entries_amount_not_zero"),
    CheckConstraint("account IN ('user', 'funding', 'revenue')", name="entries_account_known"),
)

inbox = schema.inbox(metadata)
outbox = schema.outbox(metadata)
idempotency_keys = schema.idempotency_keys(metadata)
dead_letters = schema.dead_letters(metadata)
