"""A pack that was left, settled on the database that outlived its run: all is searched that the run would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from rig.errors import ConfigError, EvidenceError, UsageError
from rig.evidence.gate import Gate, Verdict
from rig.evidence.pack import Pack
from rig.evidence.scenario_runs import RESULT
from rig.model import RequestClass, Share
from rig.profile import Profile
from rig.run.job import Job
from rig.run.record import Record
from rig.run.reporter import Reporter
from rig.settings import Settings
from rig.target.postgres import Cluster, Database
from rig.target.store import existing_store, require_same
from rig.verbs.settle import settle
from tests.truth.world import TENANTS, World, scenario

COUNT = 3


@pytest.fixture
def personal(world: World) -> World:
    world.run_scenario(scenario("S4", Share(RequestClass.PERSONAL, COUNT)))
    world.settle()
    return world


def doors(database: Database) -> dict[str, str]:
    return {"RIG_TRUTH_DSN": database.admin_dsn, "RIG_RUNTIME_DSN": database.runtime_dsn}


def left(world: World, profile: Profile, folder: Path, **facts: str) -> Record:
    """The pack of a run that took its answers, and came to no end; ``facts`` of its database, which outlives it."""
    job = Job("ladder", (), Settings(out=folder), profile, folder)
    facts = facts or dict(existing_store(profile, doors(world.database)).facts)
    record = Record.begin(job, world.targeter.run, 0, {"database": facts})
    sent = world.scenario_runs[0].scenario
    rows = np.zeros(COUNT, RESULT)
    rows["seq"], rows["status"] = range(COUNT), 200
    record.amend(tenants=TENANTS)
    record.keep_baseline(world.baseline)
    record.announce(sent, 1)
    record.history.rows_file(sent, 0).write_bytes(rows.tobytes())
    record.pack.let_go()
    return record


def settled(world: World, record: Record) -> Gate:
    """``privacy.logs``, once the pack was settled."""
    finished = settle(record.path, doors(world.database), Reporter())
    assert finished.is_sealed
    return next(gate for gate in finished.judgement.gates if gate.id == "privacy.logs")


def test_the_log_of_the_launched_target_is_searched(personal: World, tmp_path: Path) -> None:
    record = left(personal, personal.profile, tmp_path)
    word = personal.targeter.bind(personal.scenario_runs[0].scenario).canary(1).tokens[0]
    (record.pack.logs_folder / "target.log").write_text(f"taken: {word}\n")
    gate = settled(personal, record)
    assert gate.verdict is Verdict.FAIL
    assert "target.log:1" in gate.reason


def test_a_log_of_the_launched_target_that_is_gone_proves_nothing(personal: World, tmp_path: Path) -> None:
    gate = settled(personal, left(personal, launched(personal), tmp_path))
    assert gate.verdict is Verdict.INVALID
    assert gate.reason.startswith("could not be searched as a whole: ")
    assert gate.reason.endswith("target.log")


@pytest.mark.parametrize("whole", [True, False])
def test_only_the_truth_is_made_up_for(personal: World, tmp_path: Path, whole: bool) -> None:
    """A run that had done all the rest may pass then; of one that was killed nobody knows what is missing."""
    record = left(personal, personal.profile, tmp_path)
    if whole:
        record.mark_complete()
    finished = settle(record.path, doors(personal.database), Reporter())
    assert Pack.open(finished.pack).load().truth is not None
    assert ("completion" in {gate.id for gate in finished.judgement.gates}) is not whole


def test_a_run_that_still_goes_is_not_settled(personal: World, tmp_path: Path) -> None:
    record = left(personal, personal.profile, tmp_path)
    record.pack.hold()
    before = {path: path.read_bytes() for path in record.path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="that run still goes"):
        settle(record.path, doors(personal.database), Reporter())
    assert {path: path.read_bytes() for path in record.path.rglob("*") if path.is_file()} == before
    record.stays_open = True
    record.judge()
    assert settle(record.path, doors(personal.database), Reporter()).is_sealed


def launched(world: World) -> Profile:
    document = world.profile.model_dump(mode="json", exclude_unset=True) | {"launch": {"command": ["serve"]}}
    del document["target"]
    return Profile.model_validate(document)


@pytest.mark.parametrize("environ", [None, {}, {"RIG_TRUTH_DSN": ""}])
def test_no_other_database_stands_in_for_one_that_went_with_its_run(
    personal: World, tmp_path: Path, environ: dict[str, str] | None
) -> None:
    """Also where the environment names one by now, in which nothing of the run can be."""
    record = left(personal, launched(personal), tmp_path, source="embedded")
    finished = settle(record.path, doors(personal.database) if environ is None else environ, Reporter())
    assert finished.is_sealed
    assert finished.judgement.verdict is Verdict.INVALID
    assert "can never be read" in " ".join(Pack.open(finished.pack).manifest().notes)


def test_the_truth_of_another_database_is_refused(personal: World, cluster: Cluster, tmp_path: Path) -> None:
    other = cluster.create_database("another")
    record = left(personal, personal.profile, tmp_path)
    finished = settle(record.path, doors(other), Reporter())
    cluster.drop_database(other)
    assert not finished.is_sealed
    assert "RIG_TRUTH_DSN names another database than the run's (oid " in record.pack.manifest().notes[-1]
    assert settle(record.path, {"RIG_TRUTH_DSN": ""}, Reporter()).digest is None
    assert settle(record.path, doors(personal.database), Reporter()).is_sealed


def test_another_server_is_another_database(world: World) -> None:
    store = existing_store(world.profile, doors(world.database))
    require_same(store, store.facts)
    require_same(store, {"source": "RIG_TRUTH_DSN"})  # whose role might not ask
    with pytest.raises(EvidenceError, match="another database than the run's"):
        require_same(store, {**store.facts, "system_identifier": "7"})


def test_a_role_that_may_not_ask_for_the_server_knows_its_database(world: World) -> None:
    with psycopg.connect(world.database.admin_dsn) as connection:
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    facts = existing_store(world.profile, {"RIG_TRUTH_DSN": world.database.runtime_dsn}).facts
    assert "system_identifier" not in facts
    assert facts["name"] == world.database.name


def test_a_standby_is_no_truth(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = psycopg.Connection.execute

    def execute(connection: Any, query: Any, *rest: Any, **more: Any) -> Any:
        recovering = "SELECT true" if "pg_is_in_recovery" in str(query) else query
        return real(connection, recovering, *rest, **more)

    monkeypatch.setattr(psycopg.Connection, "execute", execute)
    with pytest.raises(ConfigError, match=r"the truth DSN is a standby .*name the primary"):
        existing_store(world.profile, doors(world.database))


def test_one_role_may_be_given_for_both(world: World) -> None:
    same = {"RIG_TRUTH_DSN": world.database.admin_dsn, "RIG_RUNTIME_DSN": world.database.admin_dsn}
    assert existing_store(world.profile, same).runtime_dsn == world.database.admin_dsn
