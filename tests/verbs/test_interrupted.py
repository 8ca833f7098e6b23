"""A run that is interrupted, or whose target does not start: what was gathered is kept, passes nothing, tells nothing.

LiveTarget, database and workers are stood in for; what a run and a proof make of the end is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

import rig.run.load_target
import rig.run.scenarios
import rig.selftest.bench
import rig.verbs.run
from rig.engine.pool import Load
from rig.errors import ExitCode, Unavailable
from rig.evidence.case import Finding
from rig.evidence.certificate import Certificate
from rig.evidence.gate import Gate, Verdict
from rig.evidence.pack import Pack
from rig.evidence.pack_folder import PARTIAL
from rig.evidence.scenario_runs import ScenarioRun
from rig.evidence.truth import TruthReport
from rig.model import Tenant
from rig.profile import Profile, bundled_profile, load_profile
from rig.report.documents import _origin
from rig.requests.sender import Credentials
from rig.run.job import Job
from rig.run.open_run import OpenRun
from rig.run.reporter import Reporter
from rig.selftest.defects import HEALTHY
from rig.selftest.stages import prove_defects
from rig.settings import Settings
from rig.target.endpoint import Endpoint
from rig.target.launch import LiveTarget
from rig.target.secrets import BLANK
from rig.target.store import Store
from rig.target.tenants import Tenancy
from rig.truth.lasting import Look
from rig.truth.reader import RowsRead
from rig.truth.reconcile import Baseline
from rig.verbs.check import recheck
from rig.verbs.run import run
from scenarios.ladder import Ladder
from tests.checks.cases import certificate


class Workers(nullcontext["Workers"]):
    """A pool without workers."""

    size, pids = 1, ()

    def __init__(self, *_: object) -> None:
        super().__init__(self)


class Watch:
    """Nobody watches rows arrive."""

    ended_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def follow(self, *_: object) -> None: ...

    def finish(self, *_: object) -> None: ...

    def arrivals(self) -> tuple[()]:
        return ()


class Reader:
    """A reader of the truth, of which there is none."""

    def __init__(self, *_: object) -> None: ...

    def require_tables(self, *_: object) -> None: ...

    def preflight(self, *_: object) -> Baseline:
        return Baseline({}, {})

    def require_arrival(self, *_: object) -> None: ...

    def watch_arrival(self, *_: object) -> Watch:
        return Watch()

    def read_rows(self, *_: object) -> RowsRead:
        return RowsRead(TruthReport((), (), (), (), 0, (), 0, 0, 0.0), Look(0.0, {}))

    def search_logs(self, truth: TruthReport, *_: object) -> TruthReport:
        return truth


class Looked:
    """Nobody is connected to the database."""

    def __init__(self, *_: object, **how: object) -> None: ...

    def look_again(self) -> Finding:
        return Finding("after", "connections to the database", True)


def tenancy(_: object, key: object, names: Sequence[str], *more: object) -> Tenancy:
    return Tenancy(tuple(Tenant(name, name) for name in names), {name: Credentials("", {}) for name in names})


def interrupted(_: object, load: Load, **how: object) -> ScenarioRun:
    return ScenarioRun(load.scenario, (None,), interrupted=True)


def certify(run: OpenRun, *_: object) -> Certificate:
    """A client that is good enough, and says so in the pack."""
    found = certificate()
    run.record.pack.write_certificate(found)
    return found


def never(*_: object, **how: object) -> Any:
    raise AssertionError("it was to begin no more")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    path = bundled_profile()
    scenarios = tuple(Ladder(("stripe",), steps=(5,), only=frozenset({"S1", "S2"}), spread=0).scenarios())
    settings = Settings(out=tmp_path, samplers=False, last_look_s=0)
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
        "migrate": lambda *_: None,
        "open_store": opened(store),
        "open_target": opened(LiveTarget(Endpoint("127.0.0.1", 9))),
        "provision": tenancy,
        "run_and_watch": interrupted,
        "certify": certify,
        "_samplers": opened(None),
        "open_cluster": never,
    }
    for name, thing in instead.items():
        for module in (rig.verbs.run, rig.run.load_target, rig.run.scenarios):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, thing)
    monkeypatch.setattr(rig.selftest.bench, "Pool", Workers)
    monkeypatch.setattr(rig.selftest.bench, "open_cluster", opened(None))
    monkeypatch.setattr(rig.selftest.bench, "certify", certify)
    monkeypatch.setattr(rig.selftest.bench, "new_store", lambda *_: store)
    monkeypatch.setattr(rig.selftest.bench, "migrate", lambda *_: None)


def test_a_run_reads_its_truth_and_begins_no_storm(job: Job) -> None:
    finished = run(job, {}, Reporter())
    assert finished.judgement.exit_code == ExitCode.INTERRUPTED
    pack = Pack.open(finished.pack)
    assert pack.is_sealed
    assert [scenario_run.scenario.label for scenario_run in pack.manifest().scenario_runs] == ["S1-5-stripe-1"]
    assert "interrupted in S1-5-stripe-1; not run: S2-5-stripe-1" in pack.manifest().notes
    case = pack.load()
    assert case.truth is not None
    assert "connections to the database" in {finding.what for finding in case.leak_findings}
    assert not case.key_storms


def completion(pack: Path) -> Gate:
    """The gate that says why a run was cut short, judged again."""
    return next(gate for gate in recheck(pack).judgement.gates if gate.id == "completion")


def test_a_run_that_is_interrupted_between_its_drives_passes_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here before the first of them: no drive says that it was."""

    def hit(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(rig.run.load_target, "provision", hit)
    finished = run(job, {}, Reporter())
    assert (finished.judgement.verdict, finished.judgement.exit_code) == (Verdict.INVALID, ExitCode.INTERRUPTED)
    assert (completion(finished.pack).verdict, completion(finished.pack).reason) == (
        Verdict.INVALID,
        "the run was interrupted",
    )


def test_a_run_that_comes_to_its_end_was_not_cut_short(job: Job) -> None:
    finished = run(replace(job, verb="calibrate", scenarios=()), {}, Reporter())
    assert (finished.judgement.verdict, finished.judgement.exit_code) == (Verdict.PASS, ExitCode.PASS)
    assert Pack.open(finished.pack).manifest().cut_short == ""
    document = finished.document()
    assert sorted(document["trials_rps"])[1] == document["rps"]
    assert document["rps_trials"] == document["trials_rps"]  # what a script of the last release reads


def test_the_report_names_the_commit_of_the_target(job: Job) -> None:
    target = job.profile.target.model_copy(update={"commit": "of-the-profile"})
    calibration = replace(
        job, verb="calibrate", scenarios=(), profile=job.profile.model_copy(update={"target": target})
    )
    for environ, commit in (({}, "of-the-profile"), ({"RIG_TARGET_COMMIT": "of-this-run"}, "of-this-run")):
        manifest = Pack.open(run(calibration, environ, Reporter()).pack).manifest()
        assert dict(_origin(manifest))["commit of the target"] == commit


OWN = {"STRIPE_SECRET": "chosen-by-the-user-1", "KEY_OF_A": "chosen-by-the-user-2", "KEY_OF_B": "chosen/by&the user-3"}
"""What the user has in the environment, and the profile names."""


def own(profile: Profile) -> Profile:
    """The profile of fixed tenants, with all that it wants of the environment."""
    document = profile.model_dump(mode="json", exclude_unset=True)
    for route in document["routes"]:
        route["secret_env"] = "STRIPE_SECRET"
    keys = [{"id": "7", "api_key_env": "KEY_OF_A"}, {"id": "8", "api_key_env": "KEY_OF_B"}]
    return Profile.model_validate({**document, "tenants": {"fixed": keys}})


def test_a_target_that_dies_telling_its_environment(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never came to the tenants, whose credentials stand there: the pack is INVALID, and holds none of them."""
    environ = {**OWN, "RIG_RUNTIME_DSN": "postgresql://service:chosen-by-the-user-4@127.0.0.1:9/none"}

    def dying(
        _: object, folder: Path, store: Store, logs: Path, told: Mapping[str, str], *more: object, **how: object
    ) -> Any:
        (logs / "target.log").write_text(str(dict(told)))
        raise Unavailable(f"the target ended with exit code 3: {dict(told)}")

    monkeypatch.setattr(rig.run.load_target, "open_target", dying)
    with pytest.raises(Unavailable, match="exit code 3") as caught:
        run(replace(job, profile=own(job.profile)), environ, Reporter())
    (left,) = job.settings.out.iterdir()
    assert BLANK in (left / "logs" / "target.log").read_text()
    places = {"stderr": str(caught.value).encode()}
    places |= {path.name: path.read_bytes() for path in left.rglob("*") if path.is_file()}
    assert not [place for place, data in places.items() if b"chosen" in data]
    assert recheck(left).judgement.exit_code == ExitCode.INVALID
    assert completion(left).reason.startswith("the run could not go on: the target ended with exit code 3")


def test_a_proof_ends_with_the_defect_that_was_interrupted(job: Job) -> None:
    begun = []

    class Listening(Reporter):
        def stage(self, what: str) -> None:
            begun.append(what)

    with pytest.raises(KeyboardInterrupt):
        prove_defects(job, [HEALTHY, HEALTHY], {}, Listening())
    assert [what for what in begun if what.startswith("defect: ")] == ["defect: healthy"]
    (left,) = job.settings.out.iterdir()
    assert left.name.endswith(PARTIAL)  # `rig settle` finishes it
    assert Pack.open(left).load().truth is not None
