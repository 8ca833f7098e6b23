"""Quiescing, roles that may do little, and databases that go away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast
from unittest.mock import Mock

import psycopg
import pytest
from psycopg import sql

from rig.errors import EvidenceError
from rig.evidence.truth import DiscrepancyKind, OpenTransaction
from rig.model import RequestClass, Share
from rig.profile import Profile
from rig.truth.quiesce import find_left, quiesce
from rig.truth.reader import TruthReader
from tests.truth.world import TENANTS, World, profile, scenario

MIXED = (Share(RequestClass.REPLAY, 7, one_key=True), Share(RequestClass.VALID, 3), Share(RequestClass.MALFORMED, 2))

BUSY = (OpenTransaction(7, "shop", "app", "active", 0.0, 0.0),)


def connect(world: World) -> psycopg.Connection:
    return psycopg.connect(world.database.admin_dsn, autocommit=True, application_name="rig-truth")


class Clock:
    """Time that passes only while somebody sleeps; what is due happens then."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.due: dict[float, Callable[[], None]] = {}

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        for at_s in [at_s for at_s in self.due if at_s <= self.now_s]:
            self.due.pop(at_s)()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("rig.truth.quiesce.time", clock)
    return clock


def resting(quiet_s: float) -> Profile:
    document = profile().model_dump()
    document["truth"]["quiet_s"] = quiet_s
    return Profile.model_validate(document)


def test_quiet_when_nobody_is_at_work(world: World) -> None:
    quiescence = world.reader.quiesce()
    assert quiescence
    assert quiescence.busy == ()


def test_an_open_transaction_is_work(world: World) -> None:
    with psycopg.connect(world.database.admin_dsn, application_name="shop-worker") as worker:
        worker.execute("SELECT 1")
        release = threading.Timer(0.2, worker.rollback)
        release.start()
        quiescence = quiesce(lambda: connect(world), timeout_s=20)
        assert quiescence
        assert not quiescence.left
        release.join()
        busy = threading.Thread(target=worker.execute, args=["SELECT pg_sleep(0.6)"])
        busy.start()
        quiescence = quiesce(lambda: connect(world), timeout_s=0.3)
        assert not quiescence
        assert "shop-worker" in str(quiescence)
        busy.join()


def test_a_session_that_does_nothing_in_its_transaction_is_named_and_the_truth_is_read(world: World) -> None:
    with (
        psycopg.connect(world.database.admin_dsn, application_name="migration") as before,
        psycopg.connect(world.database.admin_dsn, application_name="shop-worker") as worker,
    ):
        before.execute("SELECT 1")
        world.run_scenario(scenario())
        scenarios = [run.scenario for run in world.scenario_runs]
        baseline = world.reader.preflight(world.targeter, scenarios, TENANTS, None)
        world.settle()
        worker.execute("SELECT 1")
        quiescence = quiesce(lambda: connect(world), timeout_s=1)
        assert quiescence
        assert [each.application for each in quiescence.left] == ["migration", "shop-worker"]
        assert quiescence.left[1].state == "idle in transaction"
        assert (find_left(lambda: connect(world), idle_s=0.5) or ())[1].idle_s >= 0.5
        truth = world.reader.read(world.sent, baseline, left=quiescence.left)
        assert not truth.discrepancies
        assert [each.application for each in truth.left_open or ()] == ["shop-worker"], "the other is older"


def test_a_session_that_goes_on_in_its_transaction_has_not_left_it(world: World) -> None:
    with psycopg.connect(world.database.admin_dsn) as poller:
        ended = threading.Event()

        def poll() -> None:
            while not ended.wait(0.1):
                poller.execute("SELECT 1")

        thread = threading.Thread(target=poll)
        poller.execute("SELECT 1")
        thread.start()
        assert find_left(lambda: connect(world), idle_s=2) == ()
        ended.set()
        thread.join()


@pytest.mark.parametrize(("quiet_s", "lost"), [(0.1, 10), (1.5, 0)])
def test_rows_that_a_queue_stores_after_the_answer(
    make_world: Callable[[Profile], World], clock: Clock, quiet_s: float, lost: int
) -> None:
    world = make_world(resting(quiet_s))
    world.run_scenario(scenario())
    clock.due[1.0] = world.settle
    assert world.reader.quiesce()
    assert len(world.read().discrepancies) == lost


def test_work_begins_the_rest_anew(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """At work until 1 s, and once more at 2.5 s: only the two seconds from then on are whole."""
    monkeypatch.setattr(
        "rig.truth.quiesce._busy", lambda *_: BUSY if clock.now_s < 1 or 2.45 < clock.now_s < 2.55 else ()
    )
    quiescence = quiesce(unconnected, timeout_s=20, quiet_s=2)
    assert quiescence
    assert quiescence.waited_s == pytest.approx(4.6, abs=0.15)


def test_who_kept_the_database_from_its_rest_is_named(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rig.truth.quiesce._busy", lambda *_: BUSY if clock.now_s % 1 < 0.15 else ())
    quiescence = quiesce(unconnected, timeout_s=5, quiet_s=2)
    assert not quiescence
    assert str(quiescence).startswith("not quiet for 2 s within 5.")
    assert str(quiescence).endswith("; last busy: pid 7 (shop, role app)")


def unconnected() -> psycopg.Connection:
    """A connection that nobody asks anything."""
    return cast(psycopg.Connection, Mock())


def test_the_rigs_own_work_is_none(world: World) -> None:
    with psycopg.connect(world.database.admin_dsn, application_name="rig-sampler") as sampler:
        sampler.execute("SELECT 1")
        assert quiesce(lambda: connect(world), timeout_s=20)


def test_a_database_out_of_reach_is_not_quiet() -> None:
    quiescence = quiesce(lambda: psycopg.connect("postgresql://x@127.0.0.1:1/x"), timeout_s=0)
    assert not quiescence
    assert "cannot be reached" in str(quiescence)


def test_truth_that_cannot_be_read(world: World) -> None:
    world.run_scenario(scenario())
    remedy = "truth could not be read: .*run `rig settle PACK` when the database is back"
    with pytest.raises(EvidenceError, match=remedy):
        TruthReader(world.profile, "postgresql://x:hush@127.0.0.1:1/x").read(world.sent, world.baseline)
    world.execute("DROP TABLE {sales}")
    with pytest.raises(EvidenceError, match=r"has no table.*run `rig settle PACK` when that is mended"):
        world.read()


def test_a_role_that_may_create_no_temporary_table(world: World) -> None:
    """The same answers through arrays as through a temporary table."""
    role, database = (sql.Identifier(name) for name in (world.database.runtime_role, world.database.name))
    world.execute("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC, {}", database, role)
    world.execute("GRANT USAGE ON SCHEMA vault TO {}", role)
    world.execute("GRANT SELECT ON ALL TABLES IN SCHEMA vault TO {}", role)
    world.run_scenario(scenario("S6", *MIXED, shuffled=True))
    world.run_scenario(scenario("S2", tenants=("A", "B")))
    world.settle()
    lost, misrouted, doubled, _, foreign = world.expect(1)[:5]
    world.execute("DELETE FROM {sales} WHERE {dedup} IN ({}, {})", lost.key, misrouted.key)
    world.bury(misrouted)
    world.keep(doubled)
    world.keep(doubled._replace(key="100%s {never} 'sent'"))
    world.execute('UPDATE {sales} SET "shop id" = {} WHERE {dedup} = {}', "other", foreign.key)
    poor = TruthReader(world.profile, world.database.runtime_dsn)
    report = poor.read(world.sent, world.baseline)
    rich = world.read()
    assert {discrepancies.kind for discrepancies in rich.discrepancies} == {
        DiscrepancyKind.LOST, DiscrepancyKind.MISROUTED, DiscrepancyKind.DUPLICATED, DiscrepancyKind.UNEXPECTED,
        DiscrepancyKind.WRONG_TENANT,
    }  # fmt: skip
    assert report.discrepancies == rich.discrepancies
    assert report.groups == rich.groups
    assert report.totals == rich.totals
    assert (report.keys_reconciled, report.duplicated_keys) == (rich.keys_reconciled, rich.duplicated_keys)
