"""Alembic's entry point; everything is in kit/migrations.py."""

from kit import migrations
from services.payments.tables import metadata

migrations.run(metadata)
