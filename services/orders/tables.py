"""Tables of Orders."""

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Index, MetaData, Table, Text, Uuid, text
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
    # When Payments was last asked for the money; NULL once it has answered.
    Column("asked_at", DateTime(timezone=True)),
    CheckConstraint("total_price > 0", name="orders_total_price_positive"),
    CheckConstraint("status IN ('PENDING', 'PAID', 'CANCELED')", name="orders_status_known"),
    CheckConstraint("(status = 'CANCELED') = (cancel_reason <> '')", name="orders_canceled_with_reason"),
    # For admins, who do not know the owner.
    Index("orders_id", "id"),
    # For the sweeper, longest waiting first.
    Index("orders_unanswered", "asked_at", postgresql_where=text("asked_at IS NOT NULL")),
)

outbox = schema.outbox(metadata)
idempotency_keys = schema.idempotency_keys(metadata)
dead_letters = schema.dead_letters(metadata)
