"""A pack that was left, settled on the database that outlived its run: all is searched that the run would have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rig.model import RESULT, Gate, RequestClass, Scenario, Share, Verdict
from rig.profile import Profile
from rig.record import Record
from rig.settings import Job, Settings
from rig.settle import settle

from .world import TENANTS, World, scenario

COUNT = 3


class Silent:
    """A reporter that nobody listens to."""

    def stage(self, what: str) -> None: ...

    def drive(self, scenario: Scenario, number: int, drives: int) -> None: ...

    def progress(self, requests: int) -> None: ...


@pytest.fixture
def personal(world: World) -> World:
    world.drive(scenario("S4", Share(RequestClass.PERSONAL, COUNT)))
    world.settle()
    return world


def left(world: World, profile: Profile, folder: Path) -> Record:
    """The pack of a run that took its answers, and came to no end."""
    job = Job("ladder", (), Settings(out=folder), profile, folder)
    record = Record.begin(job, world.targeter.run, 0, {})
    sent = world.drives[0].scenario
    rows = np.zeros(COUNT, RESULT)
    rows["seq"], rows["status"] = range(COUNT), 200
    record.amend(tenants=TENANTS)
    record.keep_baseline(world.baseline)
    record.announce(sent, 1)
    record.history.rows_file(sent, 0).write_bytes(rows.tobytes())
    return record


def settled(world: World, record: Record) -> Gate:
    """``privacy.logs``, once the pack was settled."""
    doors = {"RIG_TRUTH_DSN": world.database.admin_dsn, "RIG_RUNTIME_DSN": world.database.runtime_dsn}
    finished = settle(record.path, doors, Silent())
    assert finished.sealed
    return next(gate for gate in finished.judgement.gates if gate.id == "privacy.logs")


def test_the_log_of_the_launched_target_is_searched(personal: World, tmp_path: Path) -> None:
    record = left(personal, personal.profile, tmp_path)
    word = personal.targeter.bind(personal.drives[0].scenario).canary(1).tokens[0]
    (record.pack.logs_folder / "target.log").write_text(f"taken: {word}\n")
    gate = settled(personal, record)
    assert gate.verdict is Verdict.FAIL
    assert "target.log:1" in gate.reason


def test_a_log_of_the_launched_target_that_is_gone_proves_nothing(personal: World, tmp_path: Path) -> None:
    document = personal.profile.model_dump(mode="json", exclude_unset=True) | {"launch": {"command": ["serve"]}}
    del document["target"]
    gate = settled(personal, left(personal, Profile.model_validate(document), tmp_path))
    assert gate.verdict is Verdict.INVALID
    assert gate.reason.startswith("could not be read: ")
    assert gate.reason.endswith("target.log")
