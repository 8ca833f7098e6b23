"""A drive that is interrupted: what was gathered is read and kept, and nothing more begins.

Target, database and workers are stood in for; what a run and a proof make of the interrupt is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import rig.proof.stages
import rig.run
from rig.checks.case import Finding
from rig.engine.endpoint import Endpoint
from rig.engine.pool import Load
from rig.engine.targeter import Credentials
from rig.errors import ExitCode
from rig.evidence.pack import PARTIAL, Pack
from rig.locust_bridge.backstage import Quiet
from rig.model import DriveReport, Tenant, TruthReport
from rig.profile import bundled_profile, load_profile
from rig.proof.stages import prove_defects
from rig.run import run
from rig.settings import Job, Settings
from rig.store import Store
from rig.target import Target
from rig.tenants import Tenancy
from rig.truth.reconcile import Baseline
from scenarios.ladder import Ladder
from tests.checks.cases import certificate


class Workers(nullcontext["Workers"]):
    """A pool without workers."""

    size, pids = 1, ()

    def __init__(self, *_: object) -> None:
        super().__init__(self)


class Reader:
    """A reader of the truth, of which there is none."""

    def __init__(self, *_: object) -> None: ...

    def preflight(self, *_: object) -> Baseline:
        return Baseline({}, {})

    def quiesce(self) -> bool:
        return True

    def read_rows(self, *_: object) -> TruthReport:
        return TruthReport((), (), (), (), 0, (), 0, 0, 0.0)

    def search_logs(self, truth: TruthReport, *_: object) -> TruthReport:
        return truth


class Looked:
    """Nobody is connected to the database."""

    def __init__(self, *_: object, **how: object) -> None: ...

    def look_again(self) -> Finding:
        return Finding("after", "connections to the database", True)


def tenancy(_: object, key: object, names: Sequence[str], *more: object) -> Tenancy:
    return Tenancy(tuple(Tenant(name, name) for name in names), {name: Credentials("", {}) for name in names})


def interrupted(_: object, load: Load, **how: object) -> DriveReport:
    return DriveReport(load.scenario, (None,), interrupted=True)


def never(*_: object, **how: object) -> Any:
    raise AssertionError("it was to begin no more")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    path = bundled_profile()
    scenarios = tuple(Ladder(("stripe",), steps=(5,), only=frozenset({"S1", "S2"}), spread=0).scenarios())
    settings = Settings(out=tmp_path, samplers=False)
    return Job("run", (), settings, load_profile(path), path.parent, scenarios)


@pytest.fixture(autouse=True)
def stood_in_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(thing: object) -> Callable[..., nullcontext[Any]]:
        return lambda *_, **how: nullcontext(thing)

    store = Store("postgresql://127.0.0.1:9/none", None, {})
    instead = {
        "Pool": Workers,
        "Connections": Looked,
        "TruthReader": Reader,
        "open_store": opened(store),
        "open_target": opened(Target(Endpoint("127.0.0.1", 9))),
        "provision": tenancy,
        "watched_drive": interrupted,
        "certify": lambda *_: certificate(),
        "_sampled": opened(None),
        "open_cluster": never,
    }
    for name, thing in instead.items():
        monkeypatch.setattr(rig.run, name, thing)
    monkeypatch.setattr(rig.proof.stages, "Pool", Workers)
    monkeypatch.setattr(rig.proof.stages, "open_cluster", opened(None))
    monkeypatch.setattr(rig.proof.stages, "certify", lambda *_: certificate())
    monkeypatch.setattr(rig.proof.stages, "new_store", lambda *_: store)


def test_a_run_reads_its_truth_and_begins_no_storm(job: Job) -> None:
    finished = run(job, {}, Quiet())
    assert finished.judgement.exit_code == ExitCode.INTERRUPTED
    pack = Pack.open(finished.pack)
    assert pack.sealed
    assert [drive.scenario.label for drive in pack.manifest().drives] == ["S1-5-stripe-1"]
    assert "interrupted in S1-5-stripe-1; not run: S2-5-stripe-1" in pack.manifest().notes
    case = pack.load()
    assert case.truth is not None
    assert "connections to the database" in {finding.what for finding in case.hygiene}
    assert not case.kid_storms


def test_a_proof_ends_with_the_defect_that_was_interrupted(job: Job) -> None:
    begun = []

    class Listening(Quiet):
        def stage(self, what: str) -> None:
            begun.append(what)

    with pytest.raises(KeyboardInterrupt):
        prove_defects(job, ["slow"], {}, Listening())
    assert [what for what in begun if what.startswith("defect: ")] == ["defect: healthy"]
    (left,) = job.settings.out.iterdir()
    assert left.name.endswith(PARTIAL)  # `rig settle` finishes it
    assert Pack.open(left).load().truth is not None
