"""Runs the SQL of two steps."""

from pathlib import Path

from alembic import op

revision = "2"
down_revision = "1"
FILES = ("20260101000003_cents.sql", "20260101000004_index.sql")


def upgrade() -> None:
    for name in FILES:
        op.execute((Path(__file__).parents[2] / "sql" / name).read_text())
