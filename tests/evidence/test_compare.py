from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from rig.errors import EvidenceError, UsageError
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.pack import Pack
from rig.evidence.sample_names import PIDS, Role
from rig.evidence.samples import COLUMNS, SamplerReport, Samples, with_types
from rig.model import RequestClass, Share
from rig.report.caveats import ComparedRun
from rig.report.comparison import Difference, RunComparison, compare
from rig.report.comparison_documents import console, documents
from rig.verbs.compare import compare_packs
from tests.evidence import synthetic

STEADY = (3.50, 3.52, 3.48, 3.51, 3.49, 3.53)
CERTIFIED = (Gate("calibration.null", Verdict.PASS, "floor"), Gate("accounting", Verdict.PASS, "sums"))
HOSTILE = "<script>alert(1)</script>|\x1b[31m"


def trials(times_s: Sequence[float], count: int = 300) -> Case:
    """A run of S8 trials that took so long."""
    scenario_runs, frames, clock_s = [], [], 5.0
    for trial, took_s in enumerate(times_s, 1):
        report, rows = synthetic.run_scenario(synthetic.scenario("S8", count, trial), clock_s, took_s)
        scenario_runs.append(report)
        frames.append(rows)
        clock_s += took_s + 1
    history = pd.concat(frames, ignore_index=True)
    return replace(
        synthetic.case(ladder=False, perf=False, sustained=False),
        scenario_runs=tuple(scenario_runs),
        history=history,
        truth=None,
    )


def side(case: Case, name: str = "a", gates: Sequence[Gate] = CERTIFIED, **manifest: object) -> ComparedRun:
    judgement = Judgement(Verdict.PASS, 0, tuple(gates))
    return ComparedRun(name, name * 64, replace(synthetic.manifest(case), **manifest), case, judgement)


def compared(before: ComparedRun | Sequence[float], after: ComparedRun | Sequence[float]) -> RunComparison:
    sides = [given if isinstance(given, ComparedRun) else side(trials(given)) for given in (before, after)]
    return compare(replace(sides[0], name="a"), replace(sides[1], name="b"))


def of(result: RunComparison, column: str, subject: str = "S8") -> Difference:
    return next(each for each in result.differences if (each.subject, each.figure.column) == (subject, column))


# --- claims -----------------------------------------------------------------------------------------------------


def test_six_slower_trials_are_worse() -> None:
    result = compared(STEADY, [1.2 * time_s for time_s in STEADY])
    time, rate = of(result, "elapsed_s"), of(result, "rps")
    assert (time.meaning, time.claim, rate.meaning, rate.claim) == ("worse", "higher", "worse", "lower")
    assert time.change == pytest.approx(0.2, abs=0.01)
    assert time.low is not None
    assert time.high is not None
    assert 0 < time.low <= time.change + 1e-9
    assert time.change - 1e-9 <= time.high
    assert "worse: S8 time +20%" in result.sentence


def test_six_faster_trials_are_better() -> None:
    assert of(compared([1.2 * time_s for time_s in STEADY], STEADY), "elapsed_s").meaning == "better"


def test_trials_that_vary_more_than_they_differ_claim_nothing() -> None:
    difference = of(compared(STEADY, (3.4, 3.7, 3.45, 3.6, 3.3, 3.6)), "elapsed_s")
    assert (difference.claim, difference.why_not) == (None, "the interval holds 0")


def test_of_three_pairs_nothing_can_be_claimed_however_far_apart() -> None:
    result = compared(STEADY[:3], [10 * time_s for time_s in STEADY[:3]])
    difference = of(result, "elapsed_s")
    assert (difference.claim, difference.low, difference.meaning) == (None, None, "open")
    assert difference.why_not == "3 pairs of 6 that a claim needs: run both with --trials 6"
    assert result.sentence == "no difference in any figure can be claimed"


def test_the_two_figures_of_a_row_are_as_far_apart_as_its_change_says() -> None:
    difference = of(compared((3.0, 5.0, 3.2), (4.9, 3.1, 5.2)), "elapsed_s")
    assert difference.after / difference.before == pytest.approx(1 + difference.change)
    assert 3.0 < difference.before < 5.0


def test_a_figure_of_0_has_no_ratio_and_is_left_out() -> None:
    """A trial that was over before the clock of the CPU ticked cost nothing, as far as it says."""
    case = trials(STEADY)
    assert case.certificate is not None
    first, *rest = case.certificate.trials
    free = replace(case.certificate, trials=(replace(first, client_cpu_us_per_request=0.0), *rest))
    result = compared(side(case), side(replace(case, certificate=free)))
    cpu, rate = (of(result, column, "null benchmark") for column in ("client_cpu_us_per_request", "rps"))
    assert (cpu.pairs, rate.pairs) == (len(rest), len(rest) + 1)
    assert (cpu.change, rate.change) == (0.0, 0.0)


def test_the_ladder_is_paired_run_by_run() -> None:
    result = compared(side(synthetic.case(perf=False)), side(synthetic.case(perf=False)))
    assert of(result, "rps", "ladder").pairs == 25
    assert of(result, "rps", "ladder").change == 0
    assert of(result, "service_p99_ms", "sustained").pairs == 1
    assert not result.claims
    assert not result.left_out


# --- what blocks, what is only said -------------------------------------------------------------------------------


def slower(**manifest: object) -> ComparedRun:
    return side(trials([2 * time_s for time_s in STEADY]), **manifest)


def test_another_commit_of_the_target_is_named_and_bars_nothing() -> None:
    """It may be the very change that the comparison is for."""
    fingerprint = {**synthetic.manifest(Case()).fingerprint, "target_commit": "0123abc"}
    result = compared(STEADY, slower(fingerprint=fingerprint))
    (caveat,) = result.caveats
    assert (caveat.what, caveat.after, caveat.blocks) == ("version of target_commit", "0123abc", False)


def test_another_machine_bars_every_claim() -> None:
    fingerprint = {**synthetic.manifest(Case()).fingerprint, "cores": 64}
    result = compared(STEADY, slower(fingerprint=fingerprint))
    assert [(caveat.what, caveat.before, caveat.after) for caveat in result.caveats if caveat.blocks] == [
        ("machine cores", "2", "64")
    ]
    assert not result.claims
    assert of(result, "elapsed_s").why_not == "machine cores"
    assert result.sentence == "no difference in any figure can be claimed: machine cores"
    assert result.document()["comparable"] is False


def test_another_target_bars_and_a_changed_key_of_its_profile_does_not() -> None:
    assert not compared(STEADY, slower(profile={"name": "other"})).claims
    result = compared(STEADY, slower(profile={"name": "reference", "target": {"workers": 4}}))
    assert result.claims
    assert [caveat.what for caveat in result.caveats] == ["profile.target"]


def test_what_may_be_the_change_itself_is_named_and_bars_nothing() -> None:
    result = compared(STEADY, slower(seed=8, settings={"defects": ["slow"]}))
    assert [(caveat.what, caveat.blocks) for caveat in result.caveats] == [
        ("setting defects", False),
        ("run's seed", False),
    ]
    assert of(result, "elapsed_s").meaning == "worse"


@pytest.mark.parametrize("gate", ["calibration.null", "accounting"])
def test_a_client_that_is_not_certified_bars(gate: str) -> None:
    gates = [each if each.id != gate else replace(each, verdict=Verdict.INVALID) for each in CERTIFIED]
    result = compared(STEADY, slower(gates=gates))
    assert not result.claims
    assert f"gate {gate}" in result.sentence


def test_a_time_that_could_not_be_judged_is_not_compared() -> None:
    invalid = Gate("S8.time", Verdict.INVALID, "under 10 s", {}, "the client was at its limit")
    result = compared(STEADY, slower(gates=[*CERTIFIED, invalid]))
    assert of(result, "elapsed_s").why_not == "S8.time is INVALID in one of the runs"


def sampled(case: Case, foreign_cores: float) -> Case:
    """The same with a machine of two cores on which others kept some busy."""
    start_ns, end_ns = int(case.history["sent_ns"].min()), int(case.history["done_ns"].max())
    seconds = (end_ns - start_ns) / 1e9
    busy_s = (0.5 + foreign_cores) * seconds
    pids = pd.DataFrame(0, index=range(2), columns=list(COLUMNS["pids"]))
    pids = pids.assign(at_ns=[start_ns, end_ns], pid=1, role=Role.SERVER, cpu_s=[0, 0.5 * seconds])
    machine = [(start_ns, 0, 0, 0, 0, 0, 0), (end_ns, busy_s, 0, 2 * seconds - busy_s, 0, 0, 0)]
    samples = Samples(
        pids=with_types("pids", pids),
        machine=with_types("machine", machine),
        reports=(SamplerReport(name=PIDS, ticks=2, facts={"cores": 2}),),
    )
    return replace(case, samples=samples)


def test_a_machine_that_others_used_meanwhile_bars() -> None:
    quiet, shared = (sampled(trials([f * t for t in STEADY]), cores) for f, cores in ((1.0, 0.06), (2.0, 1.0)))
    result = compared(side(quiet), side(shared))
    caveats = [(caveat.what, caveat.before, caveat.after) for caveat in result.caveats]
    assert caveats == [("others used the machine meanwhile", "3% of it", "50% of it")]
    assert not result.claims
    assert compared(side(quiet), side(sampled(trials([2 * t for t in STEADY]), 0.06))).claims


def test_without_samples_the_load_before_the_run_bars() -> None:
    fingerprint = {**synthetic.manifest(Case()).fingerprint, "load_average": [3.0, 1.0, 1.0]}
    result = compared(STEADY, slower(fingerprint=fingerprint))
    assert [caveat.what for caveat in result.caveats if caveat.blocks] == ["load of others before the run began"]


# --- pairs ------------------------------------------------------------------------------------------------------


def test_another_plan_under_the_same_name_is_left_out() -> None:
    case = trials(STEADY)
    other = replace(case.scenario_runs[0].scenario, shares=(Share(RequestClass.PERSONAL, 300),))
    scenario_runs = (replace(case.scenario_runs[0], scenario=other), *case.scenario_runs[1:])
    result = compared(STEADY, side(replace(case, scenario_runs=scenario_runs)))
    assert result.left_out == ("S8-300-stripe-1: another shares",)
    assert of(result, "elapsed_s").pairs == 5


def test_a_scenario_run_of_one_run_only_and_one_that_was_cut_off_are_left_out() -> None:
    case = trials(STEADY)
    cut = replace(case, scenario_runs=(replace(case.scenario_runs[0], interrupted=True), *case.scenario_runs[1:5]))
    result = compared(STEADY, side(cut))
    assert result.left_out == ("S8-300-stripe-1: cut off in one of the runs", "S8-300-stripe-6: only in the first run")


@pytest.mark.parametrize(
    ("after", "unproven"),
    [
        ([Gate("S8.rows", Verdict.PASS, "")], ()),
        ([Gate("S8.rows", Verdict.NOT_RUN, "")], ()),  # chance decides what some gates have to see
        ([Gate("S8.rows", Verdict.INVALID, "")], ("S8.rows",)),
        ([], ("S8.rows",)),
        ([Gate("S8.rows", Verdict.PASS, ""), Gate("completion", Verdict.INVALID, "")], ("completion",)),
    ],
)
def test_a_run_that_shows_less_than_the_one_before_is_not_proven(after: list[Gate], unproven: tuple[str, ...]) -> None:
    before = [*CERTIFIED, Gate("S8.rows", Verdict.PASS, "")]
    result = compared(side(trials(STEADY), gates=before), side(trials(STEADY), gates=[*CERTIFIED, *after]))
    assert (result.unproven, result.is_worse) == (unproven, False)


def test_gates_are_compared_one_by_one() -> None:
    lost = Gate("S8.rows", Verdict.FAIL, "all there", {"lost": 1}, "1 is lost")
    result = compared(
        side(trials(STEADY), gates=[*CERTIFIED, Gate("S8.rows", Verdict.PASS, "all there")]),
        side(trials(STEADY), gates=[*CERTIFIED, lost, Gate("new", Verdict.NOT_RUN, "rule", {}, "no pooler")]),
    )
    changes = [(each.gate, each.before, each.after, each.reason) for each in result.gates]
    assert changes == [("S8.rows", "PASS", "FAIL", "1 is lost"), ("new", "absent", "NOT-RUN", "no pooler")]
    assert result.sentence.startswith("2 gates ended otherwise; ")


# --- documents --------------------------------------------------------------------------------------------------


def hostile() -> RunComparison:
    before = side(trials(STEADY), argv=(HOSTILE,), settings={"defects": [HOSTILE]})
    gates = [*CERTIFIED, Gate(HOSTILE, Verdict.FAIL, HOSTILE, {}, HOSTILE)]
    return compare(replace(before, name=HOSTILE), replace(slower(gates=gates), name=HOSTILE))


def test_the_documents_run_nothing() -> None:
    made = documents(hostile())
    page = made["compare.html"].decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in page
    assert b"\x1b" not in made["compare.md"] + made["compare.html"]
    assert "\\|" in made["compare.md"].decode()


def test_the_console_says_what_the_page_says() -> None:
    stream = io.StringIO()
    Console(file=stream, width=160).print(console(hostile()))
    said = stream.getvalue()
    assert "\x1b" not in said
    for words in ("Not alike", "Gates that ended otherwise", "Figures", "worse: S8 time +100%"):
        assert words in said


def test_the_document_is_json() -> None:
    document = json.loads(json.dumps(hostile().document()))
    assert document["pairs_needed"] == 6
    worse = [each for each in document["differences"] if each["judged"] == "worse"]
    assert {each["figure"] for each in worse} >= {"elapsed_s", "rps", "response_p50_ms"}
    assert np.isfinite([each["low"] for each in worse]).all()


# --- packs ------------------------------------------------------------------------------------------------------


def sealed(root: Path, case: Case) -> Pack:
    pack = Pack.create(root, "run", 7, synthetic.STARTED)
    pack.write_manifest(synthetic.manifest(case))
    case.history.to_parquet(pack.history_folder / "S8.parquet", index=False)
    pack.write_judgement(Judgement(Verdict.PASS, 0, CERTIFIED))
    pack.seal()
    return pack


def test_two_packs_are_compared_and_left_as_they_are(tmp_path: Path) -> None:
    packs = [sealed(tmp_path, trials([f * t for t in STEADY])) for f in (1, 2)]
    result = compare_packs(packs[0].path, packs[1].path)
    assert of(result, "elapsed_s").meaning == "worse"
    assert all(pack.verify().intact for pack in packs)


def test_what_cannot_be_compared_says_why(tmp_path: Path, pack: Pack) -> None:
    one = sealed(tmp_path / "a", trials(STEADY[:1]))
    with pytest.raises(UsageError, match="one and the same"):
        compare_packs(one.path, one.path)
    with pytest.raises(EvidenceError, match="rig settle"):
        compare_packs(one.path, pack.path)
    other = sealed(tmp_path / "b", trials(STEADY[:2]))
    (other.path / "manifest.json").write_bytes((other.path / "manifest.json").read_bytes() + b" ")
    with pytest.raises(EvidenceError, match=r"changed: 'manifest\.json'"):
        compare_packs(one.path, other.path)
