"""products by their last change, for telling of those that changed lately"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index("products_changed", "products", ["updated_at", "id"])
