"""Tables of Orders."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from kit import schema

metadata = MetaData()

orders = Table(
    "orders",
    metadata,
    # user_id leads every key, so that the table can be distributed by it; ids are UUIDv7, so that a user's orders
    # lie in the order of their creation.
    Column("user_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    Column("cancel_reason", Text, nullable=False),
    Column("items", JSONB, nullable=False),
    Column("description", Text, nullable=False),
    Column("total_price", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    # When Payments was last asked something that it has not answered. What, follows from the status: PENDING for the
    # money, AUTHORIZED for the capture of what is held, CANCELED to give all of it back.
    Column("asked_at", DateTime(timezone=True)),
    Column("capture", Text, nullable=False, server_default="AUTOMATIC"),
    Column("paid_price", BigInteger, nullable=False, server_default="0"),
    Column("refunded_price", BigInteger, nullable=False, server_default="0"),
    # The etag: one more with each change that a client sees.
    Column("version", Integer, nullable=False, server_default="1"),
    # When a worker processed it.
    Column("processed_at", DateTime(timezone=True)),
    # When processing was last asked for; NULL once it is done.
    Column("processing_asked_at", DateTime(timezone=True)),
    # The admin who shipped it, or asked for that while the money was only held.
    Column("shipped_by", Uuid),
    CheckConstraint("total_price > 0", name="orders_total_price_positive"),
    CheckConstraint("status IN ('PENDING', 'AUTHORIZED', 'PAID', 'SHIPPED', 'CANCELED')", name="orders_status_known"),
    CheckConstraint("(status = 'CANCELED') = (cancel_reason <> '')", name="orders_canceled_with_reason"),
    CheckConstraint("capture IN ('AUTOMATIC', 'MANUAL')", name="orders_capture_known"),
    CheckConstraint("0 <= refunded_price AND refunded_price <= paid_price", name="orders_refunded_what_was_paid"),
    # For admins, who do not know the owner.
    Index("orders_id", "id"),
    # For admins, who look for what is to be shipped.
    Index(
        "orders_to_ship",
        "status",
        "id",
        postgresql_where=text("status = ANY (ARRAY['AUTHORIZED'::text, 'PAID'::text])"),
    ),
    # For the sweeper, longest waiting first.
    Index("orders_unanswered", "asked_at", postgresql_where=text("asked_at IS NOT NULL")),
    # Likewise.
    Index("orders_unprocessed", "processing_asked_at", postgresql_where=text("processing_asked_at IS NOT NULL")),
)

# What happened to an order after its creation, written in the statement that changes it: a row for each version.
order_changes = Table(
    "order_changes",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("order_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("status", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("cancel_reason", Text, nullable=False),
    # What was given back by this change: they sum to the order's refunded_price.
    Column("refunded", BigInteger, nullable=False),
    Column("description", Text, nullable=False),
    # Who asked for it; NULL when nobody did.
    Column("actor_id", Uuid),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)

# Parts of what was paid that an admin wants given back.
refunds = Table(
    "refunds",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("order_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("actor_id", Uuid, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    # When Payments was last asked for it; NULL once it has answered.
    Column("asked_at", DateTime(timezone=True)),
    CheckConstraint("amount > 0", name="refunds_amount_positive"),
    CheckConstraint("status IN ('PENDING', 'SUCCEEDED', 'FAILED')", name="refunds_status_known"),
    CheckConstraint("(status = 'PENDING') = (asked_at IS NOT NULL)", name="refunds_pending_until_answered"),
    Index("refunds_unanswered", "asked_at", postgresql_where=text("asked_at IS NOT NULL")),
)

# What orders need of the products of the shop, as Payments tells it.
products = Table(
    "products",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    # The product's etag: of what is told late or twice the largest one counts.
    Column("version", Integer, nullable=False),
    CheckConstraint("price > 0", name="products_price_positive"),
)

outbox = schema.outbox(metadata)
idempotency_keys = schema.idempotency_keys(metadata)
dead_letters = schema.dead_letters(metadata)
