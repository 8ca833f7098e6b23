"""``rig prove``: scores, faults of the instrument, and a few proofs from end to end."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
from rich.console import Console

from rig.cli import main
from rig.errors import EvidenceError, ExitCode, UsageError
from rig.evidence.gate import Gate, Verdict
from rig.evidence.sample_names import PG_ACTIVITY
from rig.machine.abandoned import leftovers
from rig.machine.processes import alive
from rig.machine.supervisor import Supervisor
from rig.profile import bundled_profile, load_profile
from rig.run.job import Job
from rig.run.reporter import Reporter
from rig.samplers.process import SamplerProcess
from rig.selftest.bench import Bench
from rig.selftest.defects import DEFECTS, add_healthy_runs
from rig.selftest.injections import kill_sampler_at_start, leave_process
from rig.selftest.matrix import Cell, Proof, cells_of, join_proofs, proof_table
from rig.selftest.stages import MIX, MIX_EVIDENCE, Defect, Stage, prove_defects
from rig.selftest.throttle import stutter
from rig.selftest.weaknesses import WEAKNESSES
from rig.settings import Settings
from rig.verbs.prove import choose, prove
from tests.cli.commands import rig

PASS, FAIL, INVALID, NOT_RUN = Verdict.PASS, Verdict.FAIL, Verdict.INVALID, Verdict.NOT_RUN


def test_cells_are_right_where_the_gate_did_what_the_defect_declares() -> None:
    seen = {"a": Gate("a", FAIL, "r"), "b": Gate("b", INVALID, "r")}
    cells = cells_of("d", {"a": FAIL, "b": PASS, "c": PASS}, seen)
    assert [(cell.gate, cell.observed, cell.is_right) for cell in cells] == [
        ("a", FAIL, True),
        ("b", INVALID, False),
        ("c", NOT_RUN, False),
    ]
    proof = Proof(tuple(cells), {"d": Path("pack")})
    assert (proof.score, proof.pairs, proof.exit_code) == (1 / 3, 1, ExitCode.FAIL)
    assert Proof((), {}).exit_code is ExitCode.FAIL


def test_repetitions_are_one_proof_that_says_what_was_not_the_same() -> None:
    first = Proof((Cell("a", "d", FAIL, FAIL), Cell("b", "d", PASS, PASS)), {"d": Path("1")})
    second = Proof((Cell("a", "d", FAIL, PASS, 2), Cell("b", "d", PASS, PASS, 2)), {"d": Path("2")}, {"x": "no locust"})
    both = join_proofs([first, second])
    assert (both.score, both.pairs, both.unstable) == (0.75, 1, ("a under d",))
    document = both.document()
    assert [cell["repetition"] for cell in document["cells"]] == [1, 1, 2, 2]
    assert document["skipped"] == {"x": "no locust"}
    assert proof_table(both).row_count == 2


def test_what_was_not_tried_is_no_pass_and_is_named_with_the_remedy() -> None:
    right, wrong = Cell("a", "d", FAIL, FAIL), Cell("a", "d", FAIL, PASS)
    skipped = {"locust-row-lost": "locust is not installed: pip install -e '.[locust]'"}
    assert Proof((right,), {}).exit_code is ExitCode.PASS
    assert Proof((wrong,), {}, skipped).exit_code is ExitCode.FAIL
    part = Proof((right,), {}, skipped)
    assert (part.score, part.exit_code) == (1.0, ExitCode.INVALID)
    assert part.document()["verdict"] == "INVALID"
    shown = io.StringIO()
    Console(file=shown, width=200).print(proof_table(part))
    assert "INVALID: score 1.000" in shown.getvalue()
    assert "not tried: locust-row-lost" in shown.getvalue()
    assert "NOT-RUN: locust is not installed: pip install -e '.[locust]'" in shown.getvalue()


def test_one_wrong_cell_of_thousands_is_no_score_of_one() -> None:
    proof = Proof((*[Cell("a", "d", FAIL, FAIL)] * 2567, Cell("a", "d", FAIL, PASS)), {})
    shown = io.StringIO()
    Console(file=shown, width=200).print(proof_table(proof))
    assert "FAIL: score 0.999 over 2568 cells" in shown.getvalue()


def test_a_wrong_cell_says_why() -> None:
    stolen = Cell("S8.time", "slow", FAIL, Verdict.INVALID, 1, "12 s, but machine: the hypervisor took 11% of its time")
    shown = io.StringIO()
    Console(file=shown, width=200).print(proof_table(Proof((stolen,), {})))
    assert "S8.time INVALID (expected FAIL): 12 s, but machine: the hypervisor took 11%" in shown.getvalue()


def test_names_are_defects_storms_or_cases() -> None:
    defects, storms = choose(["slow", "rate-limit", "cold-start"], storms_only=False)
    assert [defect.name for defect in defects] == ["slow"]
    assert {one.case or one.storm for one in storms} == {"rate-limit", "cold-start"}
    assert [one.name for one in choose(["crowd-row-lost"], storms_only=False)[0]] == ["locust-row-lost"]  # its old name
    assert choose([], storms_only=False) == ([one for one in DEFECTS if not one.part], list(WEAKNESSES))
    assert choose([], storms_only=False, part="truth") == ([one for one in DEFECTS if one.part == "truth"], [])
    assert choose([], storms_only=True) == ([], list(WEAKNESSES))
    with pytest.raises(UsageError, match="no-deduplication"):
        choose(["rust"], storms_only=False)
    with pytest.raises(UsageError, match="'slow' is no storm"):
        choose(["slow"], storms_only=True)


def test_without_the_extra_the_defect_of_a_locust_run_is_refused_by_name_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("rig.machine.extras.find_spec", lambda module: None)
    words = ["--only-defect", "row-lost", "--only-defect", "locust-row-lost", "--out", str(tmp_path)]
    assert main(["prove", *words]) == ExitCode.USAGE
    assert "locust is not installed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_proof_of_defects_needs_the_latency_calibration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--chaos", "--no-latency-calibration", "--out", str(tmp_path)]
    assert main(["prove", *words]) == ExitCode.USAGE
    assert "leave out --no-latency-calibration" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_locust_runs_are_left_out_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rig.machine.extras.find_spec", lambda module: None)
    monkeypatch.setattr("rig.selftest.stages.open_bench", lambda *_: nullcontext())
    job: Any = None  # nothing is run
    _, *defects = add_healthy_runs(defect for defect in DEFECTS if defect.stage in (MIX, MIX_EVIDENCE))
    proof = prove_defects(job, defects, {}, job)
    assert set(proof.skipped) == {"healthy-mix", "locust-worker-killed", "locust-row-lost"}
    assert not proof.cells


def test_a_defect_whose_evidence_cannot_be_judged_costs_only_its_own_row(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate("S1.rows", PASS, "")

    def leave_pack(_: Bench, defect: Defect[Any]) -> Path:
        if defect.name == "garbled":
            raise EvidenceError("raw/S1.parquet cannot be read")
        return Path(defect.name)

    bench = SimpleNamespace(refused=None, healthy={})
    monkeypatch.setattr("rig.selftest.stages.open_bench", lambda *_: nullcontext(bench))
    monkeypatch.setattr("rig.selftest.stages.read_gates", lambda _: {gate.id: gate})
    stage, job = Stage("whole", leave_pack), cast("Any", Reporter())
    proof = prove_defects(job, [Defect(name, stage) for name in ("healthy", "garbled", "other")], {}, job)
    assert [cell.defect for cell in proof.cells] == ["healthy", "other"]
    assert proof.skipped == {"garbled": "its evidence cannot be judged: raw/S1.parquet cannot be read"}
    with pytest.raises(EvidenceError):  # nothing can be held against a healthy run that cannot be read
        prove_defects(job, [Defect("garbled", stage)], {}, job)


def test_what_measures_time_comes_first_and_each_stage_after_its_healthy_run() -> None:
    stages = [defect.stage for defect in add_healthy_runs(DEFECTS)]
    assert [stage.is_shared for stage in stages] == sorted(stage.is_shared for stage in stages)
    for place, stage in enumerate(stages):
        assert stage.healthy in [before.name for before in stages[: place + 1]]


class Hearing(Reporter):
    """A reporter that keeps the stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, what: str) -> None:
        self.stages.append(what)


@pytest.mark.parametrize(("there", "stages"), [(True, 0), (False, 1)])
def test_what_a_whole_proof_cannot_try_is_said_before_half_an_hour_has_passed(
    there: bool, stages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, path = Hearing(), bundled_profile()
    job = Job("prove", (), Settings(), load_profile(path), path.parent)
    monkeypatch.setattr("rig.machine.extras.find_spec", lambda module: object() if there else None)
    for part in ("prove_defects", "prove_storms"):
        monkeypatch.setattr(f"rig.verbs.prove.{part}", lambda *_: Proof((), {}))
    prove(job, [], {}, heard)
    assert len(heard.stages) == stages
    assert all("locust is not installed" in stage and "cannot pass" in stage for stage in heard.stages)


def test_a_stuttering_process_is_stopped_again_and_again_and_runs_at_the_end() -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        process = psutil.Process(sleeper.pid)
        changes, state = 0, ""
        deadline = time.monotonic() + 20
        with stutter(lambda: [sleeper.pid], run_s=0.05, stop_s=0.05):
            while changes < 4 and time.monotonic() < deadline:
                before, state = state, process.status()
                changes += (before == psutil.STATUS_STOPPED) != (state == psutil.STATUS_STOPPED)
                time.sleep(0.005)
        assert changes == 4
        while process.status() == psutil.STATUS_STOPPED and time.monotonic() < deadline:
            time.sleep(0.005)
        assert process.status() != psutil.STATUS_STOPPED
    finally:
        sleeper.kill()
        sleeper.wait()


def test_what_is_left_behind_is_found_and_then_ended() -> None:
    with ExitStack() as afterwards:
        with Supervisor() as supervisor:
            run: Any = SimpleNamespace(supervisor=supervisor, afterwards=afterwards)
            with leave_process(run):
                (left,) = supervisor.processes()
        assert not [process for process in leftovers() if process.run == supervisor.token]
    assert not alive(left.pid)


def test_a_sampler_that_is_killed_at_its_birth_says_nothing(tmp_path: Path) -> None:
    options = {"dsn": "postgresql://nobody@127.0.0.1:1/none", "hz": 20.0}
    with kill_sampler_at_start(), SamplerProcess(PG_ACTIVITY, tmp_path, options) as sampler:
        assert not sampler.facts
        assert f"signal {signal.SIGKILL}" in sampler.failure or "could not begin" in sampler.failure


@pytest.mark.full
def test_a_storm_without_its_protection_from_end_to_end(tmp_path: Path) -> None:
    done = rig("prove", "--only-defect", "rate-limit", "--json", "--out", str(tmp_path))
    assert done.code == 0, done.err
    document = done.document()
    assert (document["score"], document["pairs"], document["unstable"]) == (1.0, 1, [])
    assert [cell["observed"] for cell in document["cells"]] == ["PASS", "FAIL"]


@pytest.mark.full
@pytest.mark.timeout(300)
def test_some_defects_from_end_to_end(tmp_path: Path) -> None:
    names = ("malformed-dropped", "worker-killed", "process-left-behind", "row-lost", "figures-lost")
    only = [word for name in names for word in ("--only-defect", name)]
    done = rig("prove", *only, "--json", "--out", str(tmp_path), timeout_s=280)
    document = done.document()
    assert [cell for cell in document["cells"] if cell["expected"] != cell["observed"]] == []
    assert done.code == 0
    assert set(document["packs"]) == {"healthy", *names}
    assert not leftovers()


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_whole_proof(tmp_path: Path) -> None:
    done = rig("prove", "--json", "--out", str(tmp_path), timeout_s=880)
    document = done.document()
    assert [cell for cell in document["cells"] if cell["expected"] != cell["observed"]] == []
    assert (done.code, document["score"]) == (0, 1.0)
    assert document["pairs"] >= 35
    assert not leftovers()
