"""orders that can be shipped, for admins"""

import sqlalchemy as sa
from alembic import op

from kit.migrations import outside_transaction

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with outside_transaction():
        # What is left of one that was not built to its end.
        op.drop_index("orders_to_ship", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            "orders_to_ship",
            "orders",
            ["status", "id"],
            postgresql_where=sa.text("status IN ('AUTHORIZED', 'PAID')"),
            postgresql_concurrently=True,
        )
