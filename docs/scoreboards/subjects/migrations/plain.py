"""Runs the SQL files in order."""

import os
from pathlib import Path

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    for path in sorted((Path(__file__).parent / "sql").iterdir()):
        connection.execute(path.read_text())
