"""the life cycle of an order: capture, what was paid and given back, etags; history; refunds"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# Until now an order changed once: when Payments had answered. It took all or nothing.
_SETTLED = """
    UPDATE orders SET version = 2, paid_price = CASE status WHEN 'PAID' THEN total_price ELSE 0 END
    WHERE status <> 'PENDING'
"""
_THEIR_CHANGES = """
    INSERT INTO order_changes (user_id, order_id, version, status, cause, cancel_reason, refunded, description,
                               changed_at)
    SELECT user_id, id, 2, status, 'PAYMENT', cancel_reason, 0, '', updated_at FROM orders WHERE status <> 'PENDING'
"""


def upgrade() -> None:
    op.add_column("orders", sa.Column("capture", sa.Text, nullable=False, server_default="AUTOMATIC"))
    op.add_column("orders", sa.Column("paid_price", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("orders", sa.Column("refunded_price", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("orders", sa.Column("version", sa.Integer, nullable=False, server_default="1"))
    op.add_column("orders", sa.Column("shipped_by", sa.Uuid))
    op.drop_constraint("orders_status_known", "orders")
    op.create_check_constraint(
        "orders_status_known", "orders", "status IN ('PENDING', 'AUTHORIZED', 'PAID', 'SHIPPED', 'CANCELED')"
    )
    op.create_check_constraint("orders_capture_known", "orders", "capture IN ('AUTOMATIC', 'MANUAL')")
    op.create_check_constraint(
        "orders_refunded_what_was_paid", "orders", "0 <= refunded_price AND refunded_price <= paid_price"
    )
    op.create_table(
        "order_changes",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("cancel_reason", sa.Text, nullable=False),
        sa.Column("refunded", sa.BigInteger, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Uuid),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "refunds",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Uuid, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("amount > 0", name="refunds_amount_positive"),
        sa.CheckConstraint("status IN ('PENDING', 'SUCCEEDED', 'FAILED')", name="refunds_status_known"),
        sa.CheckConstraint("(status = 'PENDING') = (asked_at IS NOT NULL)", name="refunds_pending_until_answered"),
    )
    op.create_index("refunds_unanswered", "refunds", ["asked_at"], postgresql_where=sa.text("asked_at IS NOT NULL"))
    op.execute(_SETTLED)
    op.execute(_THEIR_CHANGES)
