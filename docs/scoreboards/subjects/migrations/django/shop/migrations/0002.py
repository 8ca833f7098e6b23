"""Runs the SQL of two steps."""

from pathlib import Path

from django.db import migrations

FILES = ("20260101000003_cents.sql", "20260101000004_index.sql")
SQL = Path(__file__).parents[3] / "sql"


class Migration(migrations.Migration):
    dependencies = [("shop", "0001")]
    operations = [migrations.RunSQL((SQL / name).read_text()) for name in FILES]
