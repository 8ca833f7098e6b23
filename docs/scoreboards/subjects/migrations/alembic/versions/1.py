"""Runs the SQL of two steps."""

from pathlib import Path

from alembic import op

revision = "1"
down_revision = None
FILES = ("20260101000001_account.sql", "20260101000002_seed.sql")


def upgrade() -> None:
    for name in FILES:
        op.execute((Path(__file__).parents[2] / "sql" / name).read_text())
