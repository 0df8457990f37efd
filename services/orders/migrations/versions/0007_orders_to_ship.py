"""orders that can be shipped, for admins

Building the index keeps writers waiting, for about a second with a million orders.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index(
        "orders_to_ship",
        "orders",
        ["status", "id"],
        postgresql_where=sa.text("status IN ('AUTHORIZED', 'PAID')"),
    )
