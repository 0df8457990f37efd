"""payouts, and their kinds of transactions in the ledger"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_KINDS = """
    ALTER TABLE transactions DROP CONSTRAINT transactions_kind_known, ADD CONSTRAINT transactions_kind_known CHECK (
        CASE WHEN kind = 'DEPOSIT' THEN order_id IS NULL AND payout_id IS NULL
             WHEN kind IN ('CHARGE', 'HOLD', 'CAPTURE', 'RELEASE', 'REFUND')
                 THEN order_id IS NOT NULL AND payout_id IS NULL
             WHEN kind IN ('PAYOUT_HOLD', 'PAYOUT', 'PAYOUT_RELEASE')
                 THEN order_id IS NULL AND payout_id IS NOT NULL
             ELSE false END
    ) NOT VALID
"""


def upgrade() -> None:
    op.create_table(
        "payouts",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("recipient_type", sa.Text, nullable=False),
        sa.Column("recipient", sa.LargeBinary, nullable=False),
        sa.Column("recipient_masked", sa.LargeBinary, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("failure_reason", sa.Text, nullable=False),
        sa.Column("provider_reference", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True)),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount > 0", name="payouts_amount_positive"),
        sa.CheckConstraint(
            "status IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELED')", name="payouts_status_known"
        ),
        sa.CheckConstraint("recipient_type IN ('CARD', 'BANK_ACCOUNT', 'PHONE')", name="payouts_recipient_type_known"),
        sa.CheckConstraint("(status = 'FAILED') = (failure_reason <> '')", name="payouts_failed_with_reason"),
        sa.CheckConstraint("status = 'COMPLETED' OR provider_reference = ''", name="payouts_reference_once_completed"),
        sa.CheckConstraint(
            "(status IN ('PENDING', 'PROCESSING')) = (asked_at IS NOT NULL)", name="payouts_asked_until_ended"
        ),
        sa.CheckConstraint("status = 'CANCELED' OR deleted_at IS NULL", name="payouts_deleted_once_canceled"),
    )
    op.create_index("payouts_id", "payouts", ["id"], unique=True)
    op.create_index("payouts_status", "payouts", ["status", "id"])
    op.create_index("payouts_unended", "payouts", ["asked_at"], postgresql_where=sa.text("asked_at IS NOT NULL"))
    op.add_column("transactions", sa.Column("payout_id", sa.Uuid))
    # Not valid: that what was booked so far keeps it is known, and reading all of it would keep every order waiting.
    op.execute(_KINDS)
