"""All checkers together: how verdicts compose, what the exit gates ask for, how the process ends."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

import rig.checks.judge as judge_module
from rig.checks.judge import CALIBRATION, EXIT_GATES, LOAD, exit_code_of, judge, passes_calibration, verdict_of
from rig.errors import ExitCode
from rig.evidence.case import Case, Finding
from rig.evidence.certificate import Certificate
from rig.evidence.gate import Gate, Verdict, worst
from rig.model import RequestClass
from tests.checks.cases import (
    BROKEN,
    SKIPPED,
    Driven,
    by_id,
    case,
    certificate,
    driven,
    freeze,
    group,
    latency_calibration,
    plan,
    slow_certificate,
    truth,
    verdicts,
)

PASS, FAIL, INVALID, NOT_RUN = Verdict.PASS, Verdict.FAIL, Verdict.INVALID, Verdict.NOT_RUN
CLEAN = (Finding("after", "zombies", True),)
BUSY = {"cpu_user_s": 0.7, "cpu_system_s": 0.25}


def ladder(*, without: str = "", took_s: float = 4.0, **s8: object) -> list[Driven]:
    """One scenario run of each scenario that an exit gate asks for."""
    names = [name for name in ("S1", "S2", "S3", "S4", "S5", "S6", "S7") if name != without]
    personal = {"S4": RequestClass.PERSONAL}
    scenario_runs = [driven(plan(name, request_class=personal.get(name, RequestClass.VALID))) for name in names]
    if without != "S8":
        scenario_runs.append(driven(plan("S8", limit_s=10.0), took_s=took_s, **s8))
    return scenario_runs


def ended(of: Case) -> tuple[Verdict, ExitCode]:
    gates = judge(of)
    return verdict_of(gates), exit_code_of(of, gates)


def test_fail_dominates_invalid_dominates_pass() -> None:
    order = (FAIL, INVALID, PASS, NOT_RUN)
    for some in itertools.chain.from_iterable(itertools.combinations(order, n) for n in range(1, 5)):
        assert worst(some) is worst(reversed(some)) is some[0]
    assert worst(()) is NOT_RUN


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ([PASS], PASS),
        # What was not tried takes nothing away from what was, and is no PASS of its own.
        ([PASS, NOT_RUN], PASS),
        ([NOT_RUN], INVALID),
        ([], INVALID),
        ([PASS, INVALID], INVALID),
        ([PASS, INVALID, FAIL], FAIL),
    ],
)
def test_verdict_of_a_run(seen: list[Verdict], verdict: Verdict) -> None:
    gates = tuple(Gate(f"g{number}", each, "a rule") for number, each in enumerate(seen))
    assert verdict_of(gates) is verdict


def test_a_key_that_was_sent_once_shows_nothing_about_keys_that_are_sent_again() -> None:
    others = [each for each in ladder() if each.report.scenario.id != "S1"]
    for count, verdict in ((1, NOT_RUN), (2, PASS)):
        gate = by_id(judge(case(driven(plan("S1", count)), *others)))["EG3.2"]
        assert gate.verdict is verdict, gate.reason


@pytest.mark.parametrize(
    ("of", "verdict", "code"),
    [
        (case(*ladder()), PASS, ExitCode.PASS),
        # The target did wrong.
        (case(*ladder(), driven(plan("S9"), [BROKEN])), FAIL, ExitCode.FAIL),
        (case(*ladder(took_s=35.13)), FAIL, ExitCode.FAIL),
        # It was slow under a client at its limit: nobody knows.
        (case(*ladder(took_s=35.13, **BUSY)), INVALID, ExitCode.INVALID),
        (case(*ladder(took_s=35.13), certificate=None), INVALID, ExitCode.INVALID),
        # It lost rows under a client at its limit, without a certificate: lost is lost.
        (
            case(*ladder(**BUSY), certificate=None, truth=truth([group(plan("S8"), canonical=9)])),
            FAIL,
            ExitCode.FAIL,
        ),
        # Evidence is missing.
        (case(*ladder(), truth=None), INVALID, ExitCode.INVALID),
        (case(*ladder(), driven(plan("S9"), reported=False)), INVALID, ExitCode.INVALID),
        (case(*ladder(), driven(plan("S9"), [SKIPPED])), INVALID, ExitCode.INVALID),
        (case(*ladder(), leak_findings=(Finding("after", "zombies", False),)), INVALID, ExitCode.INVALID),
        # Interrupted: 130, whatever was seen before; what was seen is judged.
        (case(*ladder(), driven(plan("S9"), interrupted=True)), INVALID, ExitCode.INTERRUPTED),
        (case(*ladder(), driven(plan("S9"), [BROKEN], interrupted=True)), FAIL, ExitCode.INTERRUPTED),
        # Below the floor nothing was judged: 2, with the reason or without.
        (Case(certificate=slow_certificate("hardware-bound")), INVALID, ExitCode.BELOW_FLOOR),
        (Case(certificate=slow_certificate()), INVALID, ExitCode.BELOW_FLOOR),
        # A calibration alone.
        (Case(certificate=certificate()), PASS, ExitCode.PASS),
        # Nothing at all.
        (Case(), INVALID, ExitCode.INVALID),
        # Cut short: whatever was sound so far passes nothing, and what was wrong stays wrong.
        (Case(certificate=certificate(), cut_short="the target ended"), INVALID, ExitCode.INVALID),
        (Case(certificate=slow_certificate(), cut_short="the target ended"), INVALID, ExitCode.BELOW_FLOOR),
        (Case(verb="storm", leak_findings=CLEAN, cut_short="no server"), INVALID, ExitCode.INVALID),
        (case(*ladder(), cut_short="killed"), INVALID, ExitCode.INVALID),
        (case(*ladder(), driven(plan("S9"), [BROKEN]), cut_short="killed"), FAIL, ExitCode.FAIL),
    ],
)
def test_how_a_run_ends(of: Case, verdict: Verdict, code: ExitCode) -> None:
    assert ended(of) == (verdict, code)


def test_a_calibration_claims_nothing_about_a_target() -> None:
    assert verdicts(judge(Case(certificate=certificate()))) == {
        "calibration.null": PASS,
        "calibration.ruler": PASS,
    }


@pytest.mark.parametrize("verb", ["run", "storm", "sample", "calibrate", "prove-diagnosis", "locust"])
def test_what_was_cut_short_says_why_whatever_it_was_for(verb: str) -> None:
    gate = by_id(judge(Case(verb=verb, cut_short="the run was interrupted")))["completion"]
    assert (gate.verdict, gate.reason) == (INVALID, "the run was interrupted")
    assert "completion" not in by_id(judge(Case(verb=verb)))  # to have come to the end is no claim of its own


def test_what_was_cut_short_is_no_valid_measurement() -> None:
    gate = by_id(judge(case(*ladder(), cut_short="killed")))["EG3.5"]
    assert (gate.verdict, gate.reason) == (INVALID, "completion")


@pytest.mark.parametrize(
    ("by", "fit"),
    [
        (certificate(), True),
        (certificate(latency_calibration=None), False),  # it was asked for
        (certificate(latency_calibration=latency_calibration(freeze=freeze(unanswered=1))), False),
        (slow_certificate("client-bound"), False),
        (slow_certificate(), False),
        (None, False),
    ],
)
def test_a_client_is_certified_by_its_calibration_alone(by: Certificate | None, fit: bool) -> None:
    assert (
        passes_calibration(
            Case(settings={"latency_calibration": "quick"}, certificate=by, cut_short="not yet at its end")
        )
        is fit
    )


def test_a_ruler_that_was_not_asked_for_refuses_nobody() -> None:
    assert passes_calibration(Case(certificate=certificate(latency_calibration=None)))


def test_every_gate_has_a_rule_and_a_reason_where_it_is_not_pass() -> None:
    for of in (case(*ladder()), case(*ladder(took_s=99)), Case(), replace(case(*ladder()), truth=None)):
        for gate in judge(of):
            assert gate.rule
            assert bool(gate.reason) == (gate.verdict is not PASS), gate


# --- exit gates ---


def test_exit_gates_come_first_and_say_what_they_are_made_of() -> None:
    gates = judge(case(*ladder()))
    assert [gate.id for gate in gates[:5]] == [gate.id for gate in EXIT_GATES]
    assert {gate.verdict for gate in gates[:5]} == {PASS}
    assert by_id(gates)["EG3.2"].figures == dict.fromkeys(
        ("S1.rows", "S5.rows", "S6.rows", "duplicates", "S1.answers", "S5.answers", "S6.answers"), "PASS"
    )


@pytest.mark.parametrize(
    ("without", "not_run"),
    [
        ("S1", {"EG3.2"}),
        ("S2", set()),
        ("S3", {"EG3.3"}),
        ("S4", {"EG3.1"}),
        ("S5", {"EG3.2"}),
        ("S6", {"EG3.2", "EG3.3"}),
        ("S7", {"EG3.3"}),
        ("S8", {"EG3.1", "EG3.4"}),
    ],
)
def test_an_exit_gate_without_one_of_its_members_was_not_run(without: str, not_run: set[str]) -> None:
    gates = by_id(judge(case(*ladder(without=without))))
    assert {gate.id for gate in EXIT_GATES if gates[gate.id].verdict is NOT_RUN} == not_run
    for name in not_run:
        assert without in gates[name].reason or name == "EG3.4"


def test_a_member_that_fails_fails_its_exit_gate_though_another_was_not_tried() -> None:
    broken = group(plan("S1"), canonical=2)
    scenario_runs = [driven(plan("S1")), driven(plan("S6"))]
    gates = by_id(judge(case(*scenario_runs, truth=truth([broken, group(plan("S6"))]))))
    assert (gates["EG3.2"].verdict, gates["EG3.2"].reason) == (FAIL, "S1.rows")
    # The same row makes no other exit gate red.
    assert gates["EG3.3"].verdict is NOT_RUN


def test_invalid_members_make_an_exit_gate_invalid() -> None:
    gates = verdicts(judge(case(*ladder(), certificate=None)))
    assert gates["EG3.5"] is INVALID
    assert {gates[name] for name in ("EG3.1", "EG3.2", "EG3.3", "EG3.4")} == {PASS}


def test_what_counts_besides_counts_only_where_it_was_tried() -> None:
    assert verdicts(judge(case(*ladder())))["EG3.5"] is PASS
    dirty = (Finding("after", "zombies", False, "4711"),)
    assert verdicts(judge(case(*ladder(), leak_findings=dirty)))["EG3.5"] is INVALID
    # No log file to search: privacy stands on the tables.
    scenario_runs = ladder()
    report = truth([group(scenario_run.report.scenario) for scenario_run in scenario_runs], log_files_scanned=())
    gates = verdicts(judge(case(*scenario_runs, truth=report)))
    assert (gates["privacy.logs"], gates["EG3.1"]) == (NOT_RUN, PASS)


def test_performance_is_fast_and_right() -> None:
    """A target that answers 500 at once, or forgets, is not fast."""
    gates = verdicts(judge(case(*ladder(endings=[BROKEN]))))
    assert (gates["S8.time"], gates["S8.answers"], gates["EG3.4"]) == (PASS, FAIL, FAIL)


# --- crashing checkers ---


@pytest.mark.parametrize("broken", [checker.__name__ for checker in (*CALIBRATION, *LOAD)])
def test_a_checker_that_crashes_is_invalid_and_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def crashing(case: Case) -> list[Gate]:
        raise ZeroDivisionError("a bug")

    crashing.__name__ = broken
    for name in ("CALIBRATION", "LOAD"):
        checkers = getattr(judge_module, name)
        monkeypatch.setattr(
            judge_module, name, tuple(crashing if checker.__name__ == broken else checker for checker in checkers)
        )
    whole = case(*ladder())
    gates = by_id(judge(whole))
    crashed = gates[f"checker.{broken.removeprefix('check_')}"]
    assert (crashed.verdict, crashed.reason) == (INVALID, "the checker crashed: ZeroDivisionError: a bug")
    assert verdict_of(tuple(gates.values())) is INVALID
    assert exit_code_of(whole, tuple(gates.values())) is ExitCode.INVALID
    assert len(gates) > len(EXIT_GATES) + 10
    # An exit gate that lacks a member because of it is not "not tried".
    assert NOT_RUN not in {gates[gate.id].verdict for gate in EXIT_GATES}


def test_a_real_crash_is_contained() -> None:
    """A history without its columns: every checker that reads it crashes, no verdict comes of it."""
    whole = case(*ladder())
    gates = judge(replace(whole, history=whole.history.drop(columns=["outcome"])))
    assert verdict_of(gates) is INVALID
    assert FAIL not in {gate.verdict for gate in gates}


@pytest.mark.parametrize("checker", [*CALIBRATION, *LOAD], ids=lambda checker: checker.__name__)
@pytest.mark.parametrize(
    "of",
    [
        Case(),
        case(*ladder(), truth=None, certificate=None),
        Case(scenario_runs=case(*ladder()).scenario_runs),
        Case(scenario_runs=case(*ladder()).scenario_runs, truth=truth()),
        Case(truth=truth(), certificate=certificate(trials=(), latency_calibration=None)),
    ],
    ids=["empty", "no-truth", "no-history", "empty-truth", "no-scenario-runs"],
)
def test_no_checker_crashes_on_missing_evidence_nor_passes_it(checker: judge_module.Checker, of: Case) -> None:
    of_history = {"S8.time", "accounting", "littles_law", *(f"S{number}.answers" for number in range(1, 9))}
    carried = (of_history if len(of.history) else set()) | ({"calibration.ruler"} if of.certificate else set())
    for gate in checker(of):
        assert gate.verdict is not PASS or gate.id in carried, gate


@pytest.mark.parametrize("malformed", [PASS, FAIL])
def test_without_dead_letters_their_exit_gate_is_not_tried(malformed: Verdict) -> None:
    runs = ladder()
    dead = 0 if malformed is PASS else 1
    found = truth([group(run.report.scenario, dead=dead) for run in runs])
    gates = by_id(judge(case(*runs, truth=found, profile={"truth": {"dead": None}})))
    assert gates["S3.rows"].verdict is malformed
    assert (gates["EG3.3"].verdict, "no dead letters" in gates["EG3.3"].reason) == (NOT_RUN, True)
