"""Runs the SQL of two steps."""

from pathlib import Path

from django.db import migrations

FILES = ("20260101000001_account.sql", "20260101000002_seed.sql")
SQL = Path(__file__).parents[3] / "sql"


class Migration(migrations.Migration):
    dependencies = []
    operations = [migrations.RunSQL((SQL / name).read_text()) for name in FILES]
