"""processing by workers: when it was done, when it was asked for

What was ordered before is processed when its event is still there, but not asked for again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("orders", sa.Column("processed_at", sa.DateTime(timezone=True)))
    op.add_column("orders", sa.Column("processing_asked_at", sa.DateTime(timezone=True)))
    op.create_index(
        "orders_unprocessed",
        "orders",
        ["processing_asked_at"],
        postgresql_where=sa.text("processing_asked_at IS NOT NULL"),
    )
