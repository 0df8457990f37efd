"""Tables of Payments."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
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

# Money that leaves the system, and to whom: the recipient is sealed (kit/sealing.py) but for what everybody may see.
payouts = Table(
    "payouts",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("recipient_type", Text, nullable=False),
    # Both are a Recipient of the contract, as protobuf.
    Column("recipient", LargeBinary, nullable=False),
    Column("recipient_masked", LargeBinary, nullable=False),
    Column("comment", Text, nullable=False),
    Column("failure_reason", Text, nullable=False),
    Column("provider_reference", Text, nullable=False),
    # The etag: one more with each change.
    Column("version", Integer, nullable=False),
    # When workers were last asked to pay it; NULL once it has ended.
    Column("asked_at", DateTime(timezone=True)),
    Column("deleted_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("amount > 0", name="payouts_amount_positive"),
    CheckConstraint(
        "status IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELED')", name="payouts_status_known"
    ),
    CheckConstraint("recipient_type IN ('CARD', 'BANK_ACCOUNT', 'PHONE')", name="payouts_recipient_type_known"),
    CheckConstraint("(status = 'FAILED') = (failure_reason <> '')", name="payouts_failed_with_reason"),
    CheckConstraint("status = 'COMPLETED' OR provider_reference = ''", name="payouts_reference_once_completed"),
    CheckConstraint("(status IN ('PENDING', 'PROCESSING')) = (asked_at IS NOT NULL)", name="payouts_asked_until_ended"),
    CheckConstraint("status = 'CANCELED' OR deleted_at IS NULL", name="payouts_deleted_once_canceled"),
    # For admins and workers, who do not know the owner; unique, for it is all that a provider knows a payout by.
    Index("payouts_id", "id", unique=True),
    # For admins who look for what has failed, or hangs.
    Index("payouts_status", "status", "id"),
    # For the sweeper, longest waiting first.
    Index("payouts_unended", "asked_at", postgresql_where=text("asked_at IS NOT NULL")),
)

# What can be bought; it is taken off sale, and never deleted, for it may be owned.
products = Table(
    "products",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    # The etag: one more with each change.
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("price > 0", name="products_price_positive"),
    CheckConstraint("type IN ('CONSUMABLE', 'PERMANENT')", name="products_type_known"),
    # For who looks for some of them; the primary key is for who looks at all.
    Index("products_listed", "type", "is_active", "id"),
    # For who tells of those that changed lately.
    Index("products_changed", "updated_at", "id"),
)

# What was bought, for the price of that moment, and what was refused.
purchases = Table(
    "purchases",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("product_id", Uuid, nullable=False),
    Column("product_name", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("total_price", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("failure_reason", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("quantity > 0 AND price > 0", name="purchases_positive"),
    CheckConstraint("total_price = price * quantity", name="purchases_total_agrees"),
    CheckConstraint("status IN ('COMPLETED', 'FAILED')", name="purchases_status_known"),
    CheckConstraint("(status = 'FAILED') = (failure_reason <> '')", name="purchases_failed_with_reason"),
    # For a user who looks for what has failed, or has not.
    Index("purchases_status", "user_id", "status", "id"),
    # For what is bought most often: read without the table.
    Index("purchases_popular", "created_at", "product_id", postgresql_where=text("status = 'COMPLETED'::text")),
)

# What users own: what they bought less what they used up. What is used up wholly stays, with quantity 0.
goods = Table(
    "goods",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("product_id", Uuid, primary_key=True),
    # The product's, which never changes.
    Column("type", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("acquired_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("quantity >= 0", name="goods_not_negative"),
    CheckConstraint("type IN ('CONSUMABLE', 'PERMANENT')", name="goods_type_known"),
    CheckConstraint("type <> 'PERMANENT' OR quantity = 1", name="goods_permanent_once"),
)

# What was used up.
uses = Table(
    "uses",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("product_id", Uuid, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("quantity > 0", name="uses_quantity_positive"),
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
    # What it was for, if for one of them.
    Column("order_id", Uuid),
    Column("payout_id", Uuid),
    Column("purchase_id", Uuid),
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
        """CASE WHEN kind = 'DEPOSIT' THEN order_id IS NULL AND payout_id IS NULL AND purchase_id IS NULL
                WHEN kind IN ('CHARGE', 'HOLD', 'CAPTURE', 'RELEASE', 'REFUND')
                    THEN order_id IS NOT NULL AND payout_id IS NULL AND purchase_id IS NULL
                WHEN kind IN ('PAYOUT_HOLD', 'PAYOUT', 'PAYOUT_RELEASE')
                    THEN order_id IS NULL AND payout_id IS NOT NULL AND purchase_id IS NULL
                WHEN kind = 'PURCHASE' THEN order_id IS NULL AND payout_id IS NULL AND purchase_id IS NOT NULL
                ELSE false END""",
        name="transactions_kind_known",
    ),
)

inbox = schema.inbox(metadata)
outbox = schema.outbox(metadata)
idempotency_keys = schema.idempotency_keys(metadata)
dead_letters = schema.dead_letters(metadata)
