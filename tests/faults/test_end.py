"""The end of the rig itself during a run: Ctrl-C, SIGTERM, SIGKILL; then `rig settle`, and the next run."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pandas as pd
import psutil
import pytest

from rig.errors import ExitCode
from rig.machine.processes import words
from rig.profile import bundled_profile
from rig.target.postgres import Database
from tests.cli.commands import only_pack, rig
from tests.faults.server import doors
from tests.faults.striking import ENDLESS, Struck, Workshop


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, id="SIGINT"), pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.full)],
)
def test_an_interrupted_run_keeps_what_it_gathered(number: signal.Signals, workshop: Workshop) -> None:
    struck = Struck(workshop, *ENDLESS)
    struck.until_acknowledged()
    struck.signal(number)
    after = struck.aftermath()
    after.told(ExitCode.INTERRUPTED, "INVALID")
    assert after.sealed
    assert "interrupted" in (after.pack / "summary.md").read_text()
    assert (after.history["outcome"] == "acknowledged").sum() >= 100
    # Its truth was read: what had been acknowledged by then is there.
    assert "lost" not in after.gates["sustained.rows"]["figures"]


def test_a_killed_rig_leaves_nothing_and_is_settled(workshop: Workshop, database: Database) -> None:
    """On a user's database, which outlives it: the truth of the killed run is read."""
    struck = Struck(workshop, *ENDLESS, env=doors(database))
    struck.until_acknowledged()
    struck.signal(signal.SIGKILL)
    after = struck.aftermath()
    assert after.code == -signal.SIGKILL
    assert not after.sealed
    settled = rig("settle", str(after.pack), "--json", env=doors(database))
    gates = {gate["id"]: gate for gate in settled.document()["gates"]}
    assert [gate for gate in gates.values() if gate["verdict"] == "FAIL"] == []
    assert settled.code == ExitCode.INVALID, settled.err
    assert gates["sustained.rows"]["verdict"] == "INVALID"
    assert gates["sustained.rows"]["figures"]["canonical"] >= 100
    assert "lost" not in gates["sustained.rows"]["figures"]
    assert len(pd.read_parquet(only_pack(workshop.results) / "history")) >= 100


@pytest.mark.full
def test_what_the_target_leaves_without_session_environment_and_parent_is_named_and_ended(tmp_path: Path) -> None:
    """As ``env -i setsid`` in the start script of a service."""
    own = bundled_profile().read_text().replace("{profile_dir}", str(bundled_profile().parent))
    leaves = 'command = ["sh", "-c", "(env -i setsid sleep 4711 &); exec \\"$@\\"", "sh",'
    (tmp_path / "rig.toml").write_text(own.replace("command = [", leaves, 1))
    ended = rig(
        "ladder", "--only", "S2", "--steps", "50", "--null-seconds", "0.1", "--no-ruler", "--last-look", "0", "--json",
        "--profile", str(tmp_path / "rig.toml"), "--out", str(tmp_path / "results"),
    )  # fmt: skip
    assert ended.code == ExitCode.INVALID, ended.err
    (reason,) = [gate["reason"] for gate in json.loads(ended.out)["gates"] if gate["id"] == "hygiene"]
    assert re.search(r"processes of this run: \d+ \(sleep\)", reason)
    assert not [each for each in psutil.process_iter() if words(each) == ["sleep", "4711"]]


@pytest.mark.full
def test_the_next_run_after_a_killed_one_starts_clean(workshop: Workshop, database: Database) -> None:
    """On the same database, with the rows of the killed run still in it."""
    struck = Struck(workshop, *ENDLESS, env=doors(database))
    struck.until_acknowledged()
    struck.signal(signal.SIGKILL)
    struck.aftermath()
    following = rig(
        "ladder", "--only", "S9", "--null-seconds", "0.1", "--no-ruler", "--last-look", "0", "--json",
        "--profile", str(workshop.profile),
        "--out", str(workshop.folder / "next"), env=doors(database),
    )  # fmt: skip
    assert following.code == ExitCode.PASS, following.err
    assert _verdict(following.out, "hygiene") == "PASS"


@pytest.mark.full
def test_a_killed_rig_takes_its_own_database_along(workshop: Workshop) -> None:
    struck = Struck(workshop, *ENDLESS)
    struck.until_acknowledged()
    struck.signal(signal.SIGKILL)
    after = struck.aftermath()
    settled = rig("settle", str(after.pack), "--json")
    assert settled.code == ExitCode.INVALID, settled.err
    assert "can never be read" in (only_pack(workshop.results) / "summary.md").read_text()


def _verdict(out: str, gate: str) -> str:
    return next(str(each["verdict"]) for each in json.loads(out)["gates"] if each["id"] == gate)
