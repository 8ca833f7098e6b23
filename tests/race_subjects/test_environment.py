"""What the sisters' references take from their environment."""

from __future__ import annotations

from types import ModuleType

import click
import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rig.target.postgres import Database
from stub_server.race_subjects import limiter, refresher, scheduler, tenancy

READ = {
    limiter: "SELECT FROM rate_window",
    refresher: "SELECT FROM revenue_north",
    scheduler: "SELECT FROM job",
    tenancy: "SELECT FROM event",
}


@pytest.mark.parametrize("module", READ, ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_services_role_need_not_stand_in_its_address(
    database: Database, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    """Tables are the owner's, and that role may use them."""
    address = conninfo_to_dict(database.runtime_dsn)
    monkeypatch.setenv("PGUSER", str(address.pop("user")))
    monkeypatch.setenv("PGPASSWORD", str(address.pop("password")))
    monkeypatch.setenv("DATABASE_URL", make_conninfo("", **address))
    monkeypatch.setenv("MIGRATION_DATABASE_URL", database.admin_dsn)
    cli: click.Command = module.cli
    assert CliRunner().invoke(cli, ["prepare"], catch_exceptions=False).exit_code == 0
    with psycopg.connect(database.runtime_dsn) as connection:
        connection.execute(READ[module])
