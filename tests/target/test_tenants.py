"""How tenants come to exist: by SQL, by a command, or because they do already."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rig.errors import ConfigError, Unavailable
from rig.model import RunKey
from rig.profile import Profile, bundled_profile, load_profile
from rig.target.postgres import Database
from rig.target.tenants import Tenancy, provision
from stub_server.service.config import load_config
from stub_server.service.schema import migrate

RUN = RunKey(seed=7, run_id="tenants", started_unix=1_800_000_000)
NAMES = ("A", "B")
PYTHON = sys.executable


def with_tenants(name: str = "reference", **tenants: Any) -> Profile:
    """A bundled profile whose tenants come to exist otherwise."""
    document = load_profile(bundled_profile(name)).model_dump(mode="json", exclude_unset=True)
    return Profile.model_validate(document | {"tenants": tenants})


# --- by SQL ---


@pytest.mark.parametrize("name", ["reference", "renamed"])
def test_the_bundled_statements_work_on_their_services_schema(name: str, database: Database) -> None:
    profile = load_profile(bundled_profile(name))
    config = load_config(bundled_profile(name).with_name(f"{name}.service.toml"))
    migrate(config, database.admin_dsn, database.runtime_dsn)
    tenancy = provision(profile, RUN, NAMES, database.admin_dsn, {})
    columns = config.tables.tenants
    with psycopg.connect(database.admin_dsn) as connection:
        rows = connection.execute(
            f"SELECT {columns.tenant_id}::text, {columns.label}, {columns.api_key_sha256}, {columns.webhook_secrets}"
            f" FROM {config.database.schema_name}.{columns.name} ORDER BY 2"
        ).fetchall()
    assert [(tenant, label) for tenant, label, _, _ in rows] == [(each.id, each.name) for each in tenancy.tenants]
    for _, label, digest, secrets in rows:
        credentials = tenancy.credentials[label]
        assert digest == hashlib.sha256(credentials.api_key.encode()).hexdigest()
        assert secrets == credentials.secrets
        assert set(secrets) == {route.secret for route in profile.routes}


def test_ids_belong_to_the_run_and_credentials_to_nobody(database: Database) -> None:
    profile = with_tenants(provision_sql="SELECT %(tenant_id)s, %(secrets)s")

    def made(run: RunKey) -> Tenancy:
        return provision(profile, run, NAMES, database.admin_dsn, {})

    first, again, other = made(RUN), made(RUN), made(RunKey(7, "another", RUN.started_unix))
    assert first.tenants == again.tenants
    assert {tenant.id for tenant in first.tenants}.isdisjoint(tenant.id for tenant in other.tenants)
    keys = [each.credentials[name].api_key for each in (first, again, other) for name in NAMES]
    assert len(set(keys)) == 6
    assert not any(key in repr(first) for key in keys)


def test_a_secret_that_the_target_knows_comes_from_the_environment(database: Database) -> None:
    document = load_profile(bundled_profile()).model_dump(mode="json", exclude_unset=True)
    document["routes"][0]["secret_env"] = "STRIPE_SECRET"
    document["tenants"] = {"provision_sql": "SELECT %(secrets)s"}
    profile = Profile.model_validate(document)
    tenancy = provision(profile, RUN, NAMES, database.admin_dsn, {"STRIPE_SECRET": "known"})
    assert {tenancy.credentials[name].secrets["stripe"] for name in NAMES} == {"known"}
    with pytest.raises(ConfigError, match="STRIPE_SECRET is not set; it must hold the webhook secret 'stripe'"):
        provision(profile, RUN, NAMES, database.admin_dsn, {})


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("INSERT INTO nowhere VALUES (%(tenant_id)s)", 'relation "nowhere" does not exist'),
        ("INSRET", "syntax error"),
        ("SELECT %(colour)s", "query parameter missing: colour"),
        ("SELECT 100 % 3, %(name)s", "placeholder"),
        ("SELECT 1/0", "division by zero"),
    ],
)
def test_a_statement_that_fails_says_why(database: Database, statement: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"tenants\.provision_sql failed: ") as caught:
        provision(with_tenants(provision_sql=statement), RUN, NAMES, database.admin_dsn, {})
    assert says in str(caught.value)


def test_a_failing_row_is_not_repeated_with_its_secrets(database: Database) -> None:
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("CREATE TABLE narrow (secrets text, other text NOT NULL)")
    profile = with_tenants(provision_sql="INSERT INTO narrow (secrets) VALUES (%(secrets)s)")
    with pytest.raises(ConfigError, match='null value in column "other"') as caught:
        provision(profile, RUN, NAMES, database.admin_dsn, {})
    assert "Failing row" not in str(caught.value)
    assert "stripe" not in str(caught.value)


def test_a_service_may_number_its_tenants_itself(database: Database) -> None:
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("CREATE TABLE shop (no int GENERATED ALWAYS AS IDENTITY (START WITH 17), label text)")
    profile = with_tenants(provision_sql="INSERT INTO shop (label) VALUES (%(name)s) RETURNING label, no AS tenant_id")
    tenancy = provision(profile, RUN, NAMES, database.admin_dsn, {})
    assert [(tenant.name, tenant.id) for tenant in tenancy.tenants] == [("A", "17"), ("B", "18")]


def test_two_tenants_of_one_number(database: Database) -> None:
    with pytest.raises(ConfigError, match="the same tenant_id twice"):
        provision(with_tenants(provision_sql="SELECT 5 AS tenant_id"), RUN, NAMES, database.admin_dsn, {})


def test_either_all_tenants_exist_or_none(database: Database) -> None:
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("CREATE TABLE made (name text CHECK (name <> 'B'))")
    profile = with_tenants(provision_sql="INSERT INTO made VALUES (%(name)s)")
    with pytest.raises(ConfigError):
        provision(profile, RUN, NAMES, database.admin_dsn, {})
    with psycopg.connect(database.admin_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM made").fetchone() == (0,)


def test_no_database_is_unavailable() -> None:
    nobody = "postgresql://nobody@127.0.0.1:1/nothing"
    with pytest.raises(Unavailable, match="the truth database cannot be reached to make tenants"):
        provision(with_tenants(provision_sql="SELECT 1"), RUN, NAMES, nobody, {})


# --- by a command ---


def by_command(code: str, **environ: str) -> Tenancy:
    profile = with_tenants(provision_command=[PYTHON, "-c", code])
    return provision(profile, RUN, NAMES, "", environ)


def test_a_command_is_told_of_each_tenant_by_its_environment(tmp_path: Path) -> None:
    code = (
        "import json, os, pathlib\n"
        "told = {k: v for k, v in os.environ.items() if k.startswith('TENANT_')}\n"
        "pathlib.Path(os.environ['OUT'], told['TENANT_NAME']).write_text(json.dumps(told))"
    )
    tenancy = by_command(code, OUT=str(tmp_path))
    for tenant in tenancy.tenants:
        told = json.loads((tmp_path / tenant.name).read_text())
        credentials = tenancy.credentials[tenant.name]
        assert told == {
            "TENANT_ID": tenant.id,
            "TENANT_NAME": tenant.name,
            "TENANT_API_KEY": credentials.api_key,
            "TENANT_API_KEY_SHA256": hashlib.sha256(credentials.api_key.encode()).hexdigest(),
            "TENANT_SECRETS": json.dumps(dict(credentials.secrets)),
        }


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('no such plan')", "ended with exit code 1: no such plan"),
        ("import sys; print('first\\nlast', file=sys.stderr); sys.exit(3)", "ended with exit code 3: last"),
        ("import sys; sys.exit(4)", "ended with exit code 4: it said nothing"),
        ("import os, sys; os.write(2, b'\\xff\\xfe'); sys.exit(5)", "ended with exit code 5: "),
        # It reads nothing from whoever sits at the rig's terminal.
        ("input()", "ended with exit code 1: EOFError"),
    ],
)
def test_a_command_that_fails_says_why(code: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"tenants\.provision_command") as caught:
        by_command(code)
    assert says in str(caught.value)


def test_a_command_that_is_not_there() -> None:
    profile = with_tenants(provision_command=["./no-such-command"])
    with pytest.raises(ConfigError, match=r"tenants\.provision_command failed: .*no-such-command"):
        provision(profile, RUN, NAMES, "", {})


# --- fixed ---

ENVIRON = {"KEY_A": "key of a", "KEY_B": "key-of-b", "SECRET": "shared"}


def fixed(*tenants: tuple[str, str], secret_env: str | None = "SECRET") -> Profile:
    document = load_profile(bundled_profile()).model_dump(mode="json", exclude_unset=True)
    for route in document["routes"]:
        route["secret_env"] = secret_env
    document["tenants"] = {"fixed": [{"id": tenant, "api_key_env": variable} for tenant, variable in tenants]}
    return Profile.model_validate(document)


TWO = (("tenant-1", "KEY_A"), ("tenant-2", "KEY_B"))


def test_fixed_tenants_are_taken_in_their_order() -> None:
    tenancy = provision(fixed(*TWO), RUN, NAMES, "", ENVIRON)
    assert [(tenant.name, tenant.id) for tenant in tenancy.tenants] == [("A", "tenant-1"), ("B", "tenant-2")]
    assert [tenancy.credentials[name].api_key for name in NAMES] == ["key of a", "key-of-b"]
    assert set(tenancy.credentials["A"].secrets.values()) == {"shared"}


def test_too_few_fixed_tenants() -> None:
    with pytest.raises(ConfigError, match=r"has 1 tenants, this run needs 2 \(A, B\); add \[\[tenants.fixed\]\]"):
        provision(fixed(TWO[0]), RUN, NAMES, "", ENVIRON)


@pytest.mark.parametrize("missing", ["KEY_A", "KEY_B", "SECRET"])
def test_credentials_that_are_not_in_the_environment(missing: str) -> None:
    environ = {name: value for name, value in ENVIRON.items() if name != missing}
    with pytest.raises(ConfigError, match=f"environment variable {missing} is not set"):
        provision(fixed(*TWO), RUN, NAMES, "", environ)


def test_with_fixed_tenants_every_route_names_its_secret() -> None:
    with pytest.raises(ConfigError, match="route 'stripe' is signed and the rig makes no tenant: it needs secret_env"):
        provision(fixed(*TWO, secret_env=None), RUN, NAMES, "", ENVIRON)


@pytest.mark.parametrize("key", ["hunter2\n", "hunter2\r\nX-Injected: 1", " hunter2", "hünter2", "hunter2\x00"])
def test_an_api_key_cannot_break_out_of_its_header_and_is_not_repeated(key: str) -> None:
    with pytest.raises(ConfigError, match="KEY_A holds what no header can carry") as caught:
        provision(fixed(*TWO), RUN, NAMES, "", ENVIRON | {"KEY_A": key})
    assert "nter2" not in str(caught.value)
