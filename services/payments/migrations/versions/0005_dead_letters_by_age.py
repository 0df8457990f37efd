"""dead letters by age, for their deletion"""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index("dead_letters_died_at", "dead_letters", ["died_at"])
