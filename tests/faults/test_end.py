"""The end of the rig itself during a run: Ctrl-C, SIGTERM, SIGKILL; then `rig settle`, and the next run."""

from __future__ import annotations

import json
import signal

import pandas as pd
import pytest

from rig.errors import ExitCode
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
