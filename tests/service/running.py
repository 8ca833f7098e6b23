"""The service as a real process, and its database as the owner sees it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg
from psycopg import sql

from stub_server.service.config import Config, HeaderNames
from tests.service.sending import API_KEYS, Client, secret_of
from tests.waiting import wait_until

DEADLINE_S = 15.0


@dataclass(frozen=True)
class ServiceDatabase:
    """A migrated database with tenants A and B."""

    admin_dsn: str = field(repr=False)
    runtime_dsn: str = field(repr=False)
    config: Config = field(default_factory=Config)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DATABASE_URL": self.runtime_dsn, "MIGRATION_DATABASE_URL": self.admin_dsn}

    def rows(self, query: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows as the owner sees them, past row-level security."""
        with psycopg.connect(self.admin_dsn) as connection:
            return connection.execute(query, parameters).fetchall()

    def counts(self) -> tuple[int, int]:
        """Rows in the canonical and in the dead table."""
        schema, tables = self.config.database.schema_name, self.config.tables
        query = sql.SQL("SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM {})").format(
            sql.Identifier(schema, tables.canonical.name), sql.Identifier(schema, tables.dead.name)
        )
        with psycopg.connect(self.admin_dsn) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return row[0], row[1]

    def add_tenants(self) -> None:
        names, schema = self.config.tables.tenants, self.config.database.schema_name
        columns = (names.tenant_id, names.label, names.api_key_sha256, names.webhook_secrets)
        insert = sql.SQL("INSERT INTO {} ({}) VALUES (%s, 'name', %s, %s)").format(
            sql.Identifier(schema, names.name), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        secrets = {route.secret: secret_of(route) for route in self.config.routes}
        with psycopg.connect(self.admin_dsn) as connection:
            for tenant, key in API_KEYS.items():
                connection.execute(insert, (tenant, sha256(key.encode()).hexdigest(), json.dumps(secrets)))


def run_command(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """One verb of the service's command line, run to its end."""
    command = [sys.executable, "-m", "stub_server.service", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)


@dataclass
class RunningService:
    """A supervisor with its processes, and a client that speaks to it."""

    process: subprocess.Popen[bytes]
    client: Client
    log_file: Path

    def log(self) -> str:
        return self.log_file.read_text()

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


@contextmanager
def running_service(
    database: ServiceDatabase,
    log_file: Path,
    *,
    processes: int = 1,
    options: Sequence[str] = (),
    headers: HeaderNames | None = None,
) -> Iterator[RunningService]:
    """The service on a free port, listening; ended by the lifeline's way at the latest."""
    command = [sys.executable, "-m", "stub_server.service", "serve", "--port", "0", "--processes", str(processes)]
    with log_file.open("wb") as log:
        process = subprocess.Popen([*command, *options], stderr=log, env=database.environment(), start_new_session=True)
    try:
        serving = re.compile(r"serving http://127\.0\.0\.1:(\d+)")

        def announced() -> bool:
            assert process.poll() is None, log_file.read_text()
            return bool(serving.search(log_file.read_text()))

        wait_until(announced, what="the service does not listen")
        match = serving.search(log_file.read_text())
        assert match is not None
        yield RunningService(process, Client(int(match[1]), headers or database.config.headers), log_file)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(DEADLINE_S)
