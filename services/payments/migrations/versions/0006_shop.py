"""the shop: products, purchases, goods and their use, and the kind of transaction that pays for them"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_KINDS = """
    ALTER TABLE transactions DROP CONSTRAINT transactions_kind_known, ADD CONSTRAINT transactions_kind_known CHECK (
        CASE WHEN kind = 'DEPOSIT' THEN order_id IS NULL AND payout_id IS NULL AND purchase_id IS NULL
             WHEN kind IN ('CHARGE', 'HOLD', 'CAPTURE', 'RELEASE', 'REFUND')
                 THEN order_id IS NOT NULL AND payout_id IS NULL AND purchase_id IS NULL
             WHEN kind IN ('PAYOUT_HOLD', 'PAYOUT', 'PAYOUT_RELEASE')
                 THEN order_id IS NULL AND payout_id IS NOT NULL AND purchase_id IS NULL
             WHEN kind = 'PURCHASE' THEN order_id IS NULL AND payout_id IS NULL AND purchase_id IS NOT NULL
             ELSE false END
    ) NOT VALID
"""


def upgrade() -> None:
    op.create_table(
        "products",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("price > 0", name="products_price_positive"),
        sa.CheckConstraint("type IN ('CONSUMABLE', 'PERMANENT')", name="products_type_known"),
    )
    op.create_index("products_listed", "products", ["type", "is_active", "id"])
    op.create_table(
        "purchases",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("product_id", sa.Uuid, nullable=False),
        sa.Column("product_name", sa.Text, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("total_price", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("failure_reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("quantity > 0 AND price > 0", name="purchases_positive"),
        sa.CheckConstraint("total_price = price * quantity", name="purchases_total_agrees"),
        sa.CheckConstraint("status IN ('COMPLETED', 'FAILED')", name="purchases_status_known"),
        sa.CheckConstraint("(status = 'FAILED') = (failure_reason <> '')", name="purchases_failed_with_reason"),
    )
    op.create_index("purchases_status", "purchases", ["user_id", "status", "id"])
    op.create_index(
        "purchases_popular",
        "purchases",
        ["created_at", "product_id"],
        postgresql_where=sa.text("status = 'COMPLETED'::text"),
    )
    op.create_table(
        "goods",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("product_id", sa.Uuid, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("acquired_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("quantity >= 0", name="goods_not_negative"),
        sa.CheckConstraint("type IN ('CONSUMABLE', 'PERMANENT')", name="goods_type_known"),
        sa.CheckConstraint("type <> 'PERMANENT' OR quantity = 1", name="goods_permanent_once"),
    )
    op.create_table(
        "uses",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("product_id", sa.Uuid, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("quantity > 0", name="uses_quantity_positive"),
    )
    op.add_column("transactions", sa.Column("purchase_id", sa.Uuid))
    # Not valid: that what was booked so far keeps it is known, and reading all of it would keep every order waiting.
    op.execute(_KINDS)
