"""All checkers over one case, the exit gates that compose their gates, and the exit code of the run.

A checker that crashes makes a gate INVALID, never PASS, and the other checkers still run. The same function judges a
run that ended a second ago and a pack that is read a year later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rig.checks.answers import check_answers
from rig.checks.arrival import check_arrival
from rig.checks.bodies import check_bodies
from rig.checks.capacity import check_capacity
from rig.checks.chaos import check_chaos
from rig.checks.confusion import check_confusion
from rig.checks.content import check_content
from rig.checks.copies import check_copies
from rig.checks.forged import check_forged
from rig.checks.gates import Checker, GateKind, Kind
from rig.checks.instrument import COMPLETION, below_floor, check_accounting, check_completion, check_null
from rig.checks.isolation import check_isolation
from rig.checks.key_storms.gates import check_key_storms
from rig.checks.lasting import check_lasting
from rig.checks.latency_calibration import check_latency_calibration
from rig.checks.littles_law import check_littles_law
from rig.checks.locust_run import check_locust_run
from rig.checks.performance import check_sustained_load, check_time
from rig.checks.power import detection_power
from rig.checks.privacy import check_privacy
from rig.checks.race_tests.catalog import check_race_tests
from rig.checks.rows import check_rows
from rig.checks.samplers import check_samplers
from rig.checks.shapes import check_shapes
from rig.checks.surroundings import check_leaks, check_probes
from rig.checks.totals import check_totals
from rig.checks.transactions import check_transactions
from rig.diagnose import Diagnosis, explain
from rig.errors import ExitCode
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict, worst
from rig.evidence.judgement import Judgement
from rig.evidence.on_purpose import describe_purpose

SOUND = GateKind(
    "checker.*", Kind.INSTRUMENT, "every checker ends without an error, and emits only gates that it declared"
)
_CRASHED = SOUND.of("")

ALWAYS: tuple[Checker, ...] = (check_completion,)
"""Under every verb."""
CALIBRATION: tuple[Checker, ...] = (check_null, check_latency_calibration)
LOAD: tuple[Checker, ...] = (
    check_rows,
    check_content,
    check_answers,
    check_forged,
    check_bodies,
    check_arrival,
    check_time,
    check_sustained_load,
    check_totals,
    check_copies,
    check_lasting,
    check_transactions,
    check_isolation,
    check_privacy,
    check_probes,
    check_accounting,
    check_littles_law,
    check_leaks,
    check_samplers,
    check_locust_run,
    check_chaos,
    check_shapes,
    check_capacity,
)
WITH_ROWS: tuple[Checker, ...] = (
    check_rows,
    check_content,
    check_copies,
    check_forged,
    check_privacy,
    check_time,
    check_sustained_load,
    check_chaos,
)
"""Whose FAIL is final once the rows were read, whatever the rest of the run brings."""
WATCHING: tuple[Checker, ...] = (check_samplers,)
"""Of ``rig sample``, which sends no load."""
SHAPES: tuple[Checker, ...] = (check_shapes, check_leaks)
"""Of a run that sends nothing else: its rows are looked for one by one."""
STORMS: tuple[Checker, ...] = (check_key_storms, check_race_tests)
"""Also of ``rig storm``. It needs no null benchmark, because it claims how often things happened, not how fast."""


@dataclass(frozen=True, slots=True)
class ExitGate:
    """A gate that composes others. All ``members`` must have been tried; ``besides`` count only where they were."""

    id: str
    title: str
    members: tuple[str, ...]
    besides: tuple[str, ...] = ()
    without: Callable[[Case], str] = lambda case: ""
    """Why the target has nothing of it to show; empty where it has."""


def _without_dead_letters(case: Case) -> str:
    return "the profile has no dead letters ([truth.dead])" if case.has_no_dead_letters else ""


def _without_repeats(case: Case) -> str:
    replayed = [run.scenario for run in case.scenario_runs_of("S1")]
    is_repeated = any(scenario.count > len(scenario.tenants) for scenario in replayed)
    return "" if is_repeated or not replayed else "S1 sent its key once: give more requests (--steps)"


_MISSED = (Verdict.FAIL, Verdict.INVALID)

EXIT_GATES = (
    ExitGate(
        "EG3.1",
        "privacy",
        ("S4.rows", "S8.rows", "privacy.rows"),
        ("privacy.logs", "privacy.answers", "privacy.metrics"),
    ),
    # Answers belong to it: a duplicate that is answered with an error is sent again and again.
    ExitGate(
        "EG3.2",
        "idempotency",
        ("S1.rows", "S5.rows", "S6.rows", "duplicates", "S1.answers", "S5.answers", "S6.answers"),
        without=_without_repeats,
    ),
    ExitGate("EG3.3", "dead letters", ("S3.rows", "S6.rows", "S7.rows"), without=_without_dead_letters),
    # Answers and rows belong to it: a target that does nothing is fast, too.
    ExitGate(
        "EG3.4",
        "performance",
        ("S8.time", "S8.answers", "S8.rows"),
        ("sustained.rate", "sustained.p95", "sustained.degradation"),
    ),
    ExitGate(
        "EG3.5",
        "validity of the measurement",
        ("calibration.null", "accounting"),
        (
            "calibration.ruler",
            "littles_law",
            "hygiene",
            "samplers",
            "locust.reports",
            "locust.totals",
            COMPLETION.pattern,
            SOUND.pattern,
        ),
    ),
)


def judgement_of(case: Case) -> Judgement:
    """Judge evidence: every gate, what they come to, how the process ends, and why the run was slow."""
    diagnosis = explain(case)
    gates = judge(case)
    if diagnosis is not None:
        gates = tuple(_add_diagnosis(gates, diagnosis))
    return Judgement(
        verdict_of(gates),
        int(exit_code_of(case, gates)),
        gates,
        detection_power(case, gates),
        diagnosis,
        describe_purpose(case.settings.get("defects") or (), (*case.storms, *case.key_storms)),
    )


def judge(case: Case) -> tuple[Gate, ...]:
    """Every gate of a case: exit gates first, then the gates that they are made of."""
    checkers = (*ALWAYS, *_checkers(case))
    gates = [gate for checker in checkers for gate in _run_checker(checker, case)]
    by_id = {gate.id: gate for gate in gates}
    composed = [_compose(exit_gate, by_id, case) for exit_gate in EXIT_GATES] if case.scenario_runs else []
    return (*composed, *gates)


def judge_with_rows(case: Case) -> tuple[Gate, ...]:
    """What can be judged as soon as the rows were read. Only a FAIL among it is final."""
    return tuple(gate for checker in WITH_ROWS for gate in _run_checker(checker, case))


def _add_diagnosis(gates: Sequence[Gate], diagnosis: Diagnosis) -> Iterator[Gate]:
    """Add the diagnosis to the figures of the gates of speed that did not pass."""
    kinds = (*check_time.gates, *check_sustained_load.gates)
    for gate in gates:
        is_slow = gate.verdict in _MISSED and any(kind.covers(gate.id) for kind in kinds)
        yield replace(gate, figures={**gate.figures, "diagnosis": diagnosis.answer}) if is_slow else gate


def verdict_of(gates: tuple[Gate, ...]) -> Verdict:
    """The verdict of a run: FAIL before INVALID before PASS; INVALID where nothing was tried."""
    verdict = worst(gate.verdict for gate in gates)
    return Verdict.INVALID if verdict is Verdict.NOT_RUN else verdict


def exit_code_of(case: Case, gates: tuple[Gate, ...]) -> ExitCode:
    """The exit code of a run; 130 for an interrupted one, which is INVALID."""
    if any(run.interrupted for run in case.scenario_runs):
        return ExitCode.INTERRUPTED
    if case.certificate is not None and below_floor(case.certificate):
        return ExitCode.BELOW_FLOOR
    return verdict_of(gates).exit_code


def passes_calibration(case: Case) -> bool:
    """Whether the client is good enough to judge a target: all gates of its calibration pass."""
    return verdict_of(tuple(gate for checker in CALIBRATION for gate in _run_checker(checker, case))) is Verdict.PASS


def _checkers(case: Case) -> tuple[Checker, ...]:
    match case.verb:
        case "sample":
            return WATCHING
        case "prove-diagnosis":
            return (*CALIBRATION, check_confusion)
        case "storm":
            return (*STORMS, check_leaks)
        case _:
            # A locust run that sent nothing has no scenario run, and must not pass.
            alone = SHAPES if case.shapes is not None else (check_locust_run,)
            return CALIBRATION + (LOAD if case.scenario_runs else alone) + STORMS


def _run_checker(checker: Checker, case: Case) -> list[Gate]:
    name = checker.__name__.removeprefix("check_")
    try:
        gates = checker(case)
    except Exception as error:  # a checker's bug must not become a verdict on the target, nor hide other gates
        return [SOUND.decide({}, unproven=f"the checker crashed: {type(error).__name__}: {error}", name=name)]
    if undeclared := checker.find_undeclared_ids(gates):
        # `rig prove` does not know such a gate, so nobody has ever seen it red.
        reason = f"the checker emitted gates that it does not declare: {', '.join(undeclared)}"
        return [*gates, SOUND.decide({}, unproven=reason, name=name)]
    return gates


def _compose(exit_gate: ExitGate, gates: Mapping[str, Gate], case: Case) -> Gate:
    named = [gates[name] for name in exit_gate.members + exit_gate.besides if name in gates]
    crashed = [gate for gate in gates.values() if SOUND.pattern in exit_gate.besides and SOUND.covers(gate.id)]
    tried = named + crashed
    verdict = worst(gate.verdict for gate in tried)
    rule = f"{exit_gate.title}: {', '.join(gate.id for gate in tried) or 'nothing'}"
    figures = {gate.id: gate.verdict.value for gate in tried}
    missing = ", ".join(
        name for name in exit_gate.members if name not in gates or gates[name].verdict is Verdict.NOT_RUN
    )
    reason = ", ".join(gate.id for gate in tried if gate.verdict is verdict)
    if verdict in (Verdict.PASS, Verdict.NOT_RUN) and missing and any(name.startswith(_CRASHED) for name in gates):
        verdict, reason = Verdict.INVALID, f"a checker crashed; missing: {missing}"
    elif why := exit_gate.without(case):
        # Nor does it FAIL: what is wrong in its members is about something else, and they say so.
        verdict, reason = Verdict.NOT_RUN, why
    elif verdict is Verdict.NOT_RUN:
        reason = "nothing of it was tried"
    elif verdict is Verdict.PASS:
        verdict, reason = (Verdict.NOT_RUN, f"not tried: {missing}") if missing else (verdict, "")
    return Gate(exit_gate.id, verdict, rule, figures, reason)
