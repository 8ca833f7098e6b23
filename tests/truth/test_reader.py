"""Quiescing, roles that may do little, and databases that go away."""

from __future__ import annotations

import threading

import psycopg
import pytest
from psycopg import sql

from rig.errors import EvidenceError
from rig.model import Anomaly, RequestClass, Share
from rig.truth.quiesce import quiesce
from rig.truth.reader import TruthReader

from .world import TENANTS, World, scenario

MIXED = (Share(RequestClass.REPLAY, 7, one_key=True), Share(RequestClass.VALID, 3), Share(RequestClass.MALFORMED, 2))


def connect(world: World) -> psycopg.Connection:
    return psycopg.connect(world.database.admin_dsn, autocommit=True, application_name="rig-truth")


def test_quiet_when_nobody_is_at_work(world: World) -> None:
    quiescence = world.reader.quiesce()
    assert quiescence
    assert quiescence.busy == ()


def test_an_open_transaction_is_work(world: World) -> None:
    with psycopg.connect(world.database.admin_dsn, application_name="shop-worker") as worker:
        worker.execute("SELECT 1")
        quiescence = quiesce(lambda: connect(world), timeout_s=0.3)
        assert not quiescence
        assert "shop-worker" in str(quiescence)
        release = threading.Timer(0.2, worker.rollback)
        release.start()
        assert quiesce(lambda: connect(world), timeout_s=20)
        release.join()


def test_the_rigs_own_work_is_none(world: World) -> None:
    with psycopg.connect(world.database.admin_dsn, application_name="rig-sampler") as sampler:
        sampler.execute("SELECT 1")
        assert quiesce(lambda: connect(world), timeout_s=20)


def test_a_database_out_of_reach_is_not_quiet() -> None:
    quiescence = quiesce(lambda: psycopg.connect("postgresql://x@127.0.0.1:1/x"), timeout_s=0)
    assert not quiescence
    assert "cannot be reached" in str(quiescence)


def test_truth_that_cannot_be_read(world: World) -> None:
    world.drive(scenario())
    remedy = "truth could not be read: .*run `rig settle PACK` when the database is back"
    with pytest.raises(EvidenceError, match=remedy):
        TruthReader(world.profile, "postgresql://x:hush@127.0.0.1:1/x").read(
            world.targeter, world.drives, TENANTS, world.baseline
        )
    world.execute("DROP TABLE {sales}")
    with pytest.raises(EvidenceError, match=remedy):
        world.read()


def test_a_role_that_may_create_no_temporary_table(world: World) -> None:
    """The same answers through arrays as through a temporary table."""
    role, database = (sql.Identifier(name) for name in (world.database.runtime_role, world.database.name))
    world.execute("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC, {}", database, role)
    world.execute("GRANT USAGE ON SCHEMA vault TO {}", role)
    world.execute("GRANT SELECT ON ALL TABLES IN SCHEMA vault TO {}", role)
    world.drive(scenario("S6", *MIXED, shuffled=True))
    world.drive(scenario("S2", tenants=("A", "B")))
    world.settle()
    lost, misrouted, doubled, _, foreign = world.expected(1)[:5]
    world.execute("DELETE FROM {sales} WHERE {dedup} IN ({}, {})", lost.key, misrouted.key)
    world.bury(misrouted)
    world.keep(doubled)
    world.keep(doubled._replace(key="100%s {never} 'sent'"))
    world.execute('UPDATE {sales} SET "shop id" = {} WHERE {dedup} = {}', "other", foreign.key)
    poor = TruthReader(world.profile, world.database.runtime_dsn)
    report = poor.read(world.targeter, world.drives, TENANTS, world.baseline)
    rich = world.read()
    assert {unclean.kind for unclean in rich.unclean} == {
        Anomaly.LOST, Anomaly.MISROUTED, Anomaly.DUPLICATED, Anomaly.UNEXPECTED, Anomaly.WRONG_TENANT,
    }  # fmt: skip
    assert report.unclean == rich.unclean
    assert report.groups == rich.groups
    assert report.totals == rich.totals
    assert (report.keys_reconciled, report.duplicated_keys) == (rich.keys_reconciled, rich.duplicated_keys)
