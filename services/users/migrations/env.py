"""Alembic's entry point; everything is in kit/migrations.py."""

from kit import migrations
from services.users.tables import metadata

migrations.run(metadata)
