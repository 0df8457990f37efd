"""refresh tokens know which one bought them, so that one whose answer was lost can be exchanged once more"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Those that are there, and those that the last release adds, have none: using them twice ends the sign-in.
    op.add_column("refresh_tokens", sa.Column("bought_with", sa.LargeBinary))
