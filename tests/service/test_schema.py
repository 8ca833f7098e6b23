"""Migrations: again, at once, and with roles that will not do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from rig.target.postgres import Cluster
from stub_server.service.config import Config
from stub_server.service.errors import ServiceConfigError, ServiceUnavailable
from stub_server.service.schema import migrate
from stub_server.service.switches import ServiceDefect
from tests.service.conftest import MakeDatabase
from tests.service.running import ServiceDatabase

INDEXES = "SELECT indexdef FROM pg_indexes WHERE tablename = 'attribution_events' AND indexname LIKE '%%once%%'"


def unique_columns(database: ServiceDatabase) -> list[str]:
    return [definition.partition(" USING btree ")[2] for (definition,) in database.rows(INDEXES)]


def test_migrating_again_changes_nothing_and_converges_on_the_defects(make_database: MakeDatabase) -> None:
    database = make_database("migrated_again")
    sound = ["(tenant_id, idempotency_key)"]
    assert unique_columns(database) == sound
    for defects, columns in (
        ((ServiceDefect.GLOBAL_DEDUPLICATION,), ["(idempotency_key)"]),
        ((ServiceDefect.NO_DEDUPLICATION,), []),
        ((), sound),
        ((), sound),
    ):
        migrate(database.config, database.admin_dsn, database.runtime_dsn, defects)
        assert unique_columns(database) == columns
    assert database.rows("SELECT channel FROM channel_taxonomy WHERE alias = 'fb ads'") == [("facebook_paid",)]


def test_many_may_migrate_an_empty_database_at_once(cluster: Cluster) -> None:
    database = cluster.create_database("service_migrated_at_once")
    try:
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(migrate, Config(), database.admin_dsn, database.runtime_dsn) for _ in range(4)]:
                done.result()
    finally:
        cluster.drop_database(database)


def test_a_role_that_bypasses_row_level_security_is_refused(service_database: ServiceDatabase) -> None:
    with pytest.raises(ServiceConfigError, match="can bypass row-level security"):
        migrate(Config(), service_database.admin_dsn, service_database.admin_dsn)


def test_an_owner_without_rights_or_a_missing_database_is_named(service_database: ServiceDatabase) -> None:
    with pytest.raises(ServiceConfigError, match="migration failed"):
        migrate(Config(), service_database.runtime_dsn, service_database.runtime_dsn)
    for owner, runtime, variable in (
        ("host=127.0.0.1 port=1", service_database.runtime_dsn, "MIGRATION_DATABASE_URL"),
        (service_database.admin_dsn, "host=127.0.0.1 port=1", "DATABASE_URL"),
    ):
        with pytest.raises(ServiceUnavailable, match=f"of {variable} cannot be used"):
            migrate(Config(), owner, runtime)


def test_nobody_else_was_granted_anything(service_database: ServiceDatabase) -> None:
    with psycopg.connect(service_database.runtime_dsn) as role:
        [(name,)] = role.execute("SELECT current_user").fetchall()
    granted = service_database.rows(
        """SELECT table_name, privilege_type FROM information_schema.role_table_grants
           WHERE grantee = %s ORDER BY 1, 2""",
        name,
    )
    assert granted == [
        ("attribution_events", "INSERT"),
        ("attribution_events", "SELECT"),
        ("channel_taxonomy", "SELECT"),
        ("dead_events", "INSERT"),
        ("dead_events", "SELECT"),
        ("tenants", "SELECT"),
    ]
