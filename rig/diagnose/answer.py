"""All hypotheses, weighed and put in order, and the answer in one sentence.

Order of what is supported: the client, whose own lack shows in every figure behind it; then what no lack of processors
can produce (locks, new connections, logs, a process that computes), by the share of the requests in flight that each
accounts for; then the machine; then what a machine that was taken away could have produced as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rig.diagnose.client import weigh_client
from rig.diagnose.connections import weigh_churn, weigh_pool
from rig.diagnose.database import weigh_commit, weigh_locks
from rig.diagnose.machine import weigh_machine
from rig.diagnose.measured import LEAST_S, measure
from rig.diagnose.numbers import Measured
from rig.diagnose.server import weigh_computing, weigh_logs
from rig.evidence.case import Case
from rig.evidence.diagnosis import Diagnosis, Hypothesis, State
from rig.evidence.scenario_runs import ScenarioRun

_TIERS = {"H-D": 0, "H-A2": 1, "H-B2": 1, "H-C": 1, "H-E": 1, "H-F": 2, "H-A1": 3, "H-B1": 3}
_OUTCOMES = ("supported", "undetermined", "refuted")


def explain(case: Case) -> Diagnosis | None:
    """The diagnosis of a case, None where nothing was driven; it never raises, lest it take the verdicts along."""
    if not case.scenario_runs:
        return None
    try:
        return diagnose(case)
    except Exception as error:  # it passes and fails nothing: a fault of its own must not keep a run from being judged
        why = f"the diagnosis crashed: {type(error).__name__}: {error}"
        return Diagnosis(f"undetermined: {why}", "undetermined", None, (), (why,))


def diagnose(case: Case) -> Diagnosis:
    """Why the judged storms were as slow as they were; of several kinds of storm, the one in which most stands out."""
    best_rps = case.certificate.rps if case.certificate and case.certificate.trials else None
    found = [weighed(measure(case, scenario_runs), best_rps) for scenario_runs in _storms(case)]
    if not found:
        why = f"no storm of {LEAST_S:g} s or more to look at: run one (rig perf)"
        return Diagnosis(f"undetermined: {why}", "undetermined", None, (), (why,))
    return max(found, key=lambda diagnosis: (diagnosis.state == "supported", _score(diagnosis)))


def _storms(case: Case) -> Iterator[Sequence[ScenarioRun]]:
    """The trials of each scenario that has a limit to keep; where none has, all drives together."""
    drove = set(case.history.loc[case.history["sent_ns"] > 0, "scenario_run"])
    scenario_runs = [scenario_run for scenario_run in case.scenario_runs if scenario_run.scenario.label in drove]
    judged = [
        scenario_run
        for scenario_run in scenario_runs
        if scenario_run.scenario.limit_s or scenario_run.scenario.p95_limit_ms
    ]
    groups = [
        [scenario_run for scenario_run in judged if scenario_run.scenario.id == name]
        for name in dict.fromkeys(scenario_run.scenario.id for scenario_run in judged)
    ]
    for group in groups or [scenario_runs]:
        if sum(scenario_run.elapsed_s for scenario_run in group) >= LEAST_S:
            yield group


def weighed(measured: Measured, best_rps: float | None = None) -> Diagnosis:
    """The diagnosis of one storm in numbers. ``best_rps`` is what the null benchmark reached, None without one."""
    machine = weigh_machine(measured)
    client = weigh_client(measured, best_rps, machine)
    commit, locks = weigh_commit(measured), weigh_locks(measured)
    churn, logs = weigh_churn(measured), weigh_logs(measured)
    pool = weigh_pool(measured, commit, locks, churn, logs)
    computing = weigh_computing(measured, churn, logs)
    ordered = tuple(sorted((commit, locks, pool, churn, logs, client, computing, machine), key=_rank))
    open_ones = [each for each in ordered if each.outcome == "undetermined"]
    first = ordered[0] if ordered[0].outcome == "supported" else None
    state: State = "supported" if first else "undetermined" if open_ones else "nothing"
    if first is not None:
        answer = f"{first.title}: {first.because}"
    elif open_ones:
        names = ", ".join(each.id for each in open_ones)
        answer = f"undetermined: nothing stands out in what was seen, but not all was ({names})"
    else:
        answer = f"nothing stands out: {_in_order(measured)}"
    return Diagnosis(
        answer=answer,
        state=state,
        first=first.id if first else None,
        hypotheses=ordered,
        look_next=tuple(dict.fromkeys(each.because for each in open_ones)),
        of=measured.scenario_runs,
        in_flight=measured.places(),
    )


def _rank(hypothesis: Hypothesis) -> tuple[int, int, float, str]:
    tier = _TIERS[hypothesis.id] if hypothesis.outcome == "supported" else 0
    return _OUTCOMES.index(hypothesis.outcome), tier, -hypothesis.score, hypothesis.id


def _score(diagnosis: Diagnosis) -> float:
    return diagnosis.hypotheses[0].score


def _in_order(measured: Measured) -> str:
    """What a run in order looked like, in figures."""
    parts = [f"{measured.rate_per_s:,.0f} requests/s, {measured.in_flight:,.0f} in flight"]
    if (machine := measured.machine) is not None:
        own = ", all with the run's own work" if machine.spent_on_the_run else ""
        parts.append(f"{machine.cores:g} cores {machine.busy:.0%} busy{own}")
    if measured.database is not None:
        parts.append(f"{measured.database.active:.1f} average active sessions in the database")
    if measured.client is not None:
        parts.append(f"the client at {measured.client.utilisation:.0%} of a core")
    return ", ".join(parts)
