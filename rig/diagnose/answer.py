"""All hypotheses, weighed and put in order, and the answer in one sentence.

Order of the supported ones:

1. The client. Where it is too slow, every other figure is wrong too.
2. Locks, new connections, logs, a process that computes: a lack of processors does not cause these. The one with the
   larger share of the requests in flight comes first.
3. The machine.
4. Slow commits and too few connections, because a machine that others use can cause both.
5. Waiting inside the service: what is left where nothing else explains the wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rig.diagnose.client import weigh_client
from rig.diagnose.connections import weigh_churn, weigh_pool
from rig.diagnose.database import weigh_commit, weigh_locks
from rig.diagnose.inside import weigh_inside
from rig.diagnose.machine import describe_machine, weigh_machine
from rig.diagnose.measured import LEAST_S, measure
from rig.diagnose.numbers import BUSY, Measured
from rig.diagnose.server import weigh_computing, weigh_logs
from rig.evidence.case import Case
from rig.evidence.chaos import S11
from rig.evidence.diagnosis import Diagnosis, Hypothesis, State
from rig.evidence.scenario_runs import ScenarioRun
from rig.text import some

_TIERS = {"H-D": 0, "H-A2": 1, "H-B2": 1, "H-C": 1, "H-E": 1, "H-F": 2, "H-A1": 3, "H-B1": 3, "H-G": 4}
_OUTCOMES = ("supported", "undetermined", "refuted")


def explain(case: Case) -> Diagnosis | None:
    """The diagnosis of a case, None where none but S11 ran. It never raises, so it cannot stop the judging.

    While things break nobody samples, and how slow that is is no question.
    """
    if all(run.scenario.id == S11 for run in case.scenario_runs):
        return None
    try:
        return diagnose(case)
    except Exception as error:  # a fault of the diagnosis must not keep a run from being judged
        why = f"the diagnosis crashed: {type(error).__name__}: {error}"
        return Diagnosis(f"undetermined: {why}", "undetermined", None, (), (why,))


def diagnose(case: Case) -> Diagnosis:
    """Why the judged scenarios were slow; of several, the one with the strongest supported hypothesis."""
    best_rps = case.certificate.rps if case.certificate and case.certificate.trials else None
    at_limit = case.capacity is not None
    found = [weigh(measure(case, runs), best_rps, at_limit=at_limit) for runs in _groups(case)]
    if not found:
        why = f"no scenario lasted {LEAST_S:g} s: run one that does (rig perf)"
        return Diagnosis(f"undetermined: {why}", "undetermined", None, (), (why,))
    return max(found, key=lambda diagnosis: (diagnosis.state == "supported", _score(diagnosis)))


def _name_what_is_full(measured: Measured) -> str:
    """What a healthy target at its limit has no more of."""
    machine, server = measured.machine, measured.server
    if machine is not None and machine.busy >= BUSY:
        used = {
            "server": server.cpu_ms_per_request * measured.rate_per_s / 1e3 if server else 0.0,
            "client": measured.client.cores if measured.client else 0.0,
        }
        used["database and the rest"] = machine.busy * machine.cores - sum(used.values())
        shares = ", ".join(f"{who} {cores:.1f}" for who, cores in used.items() if cores > 0)
        return f"the cores: {machine.busy:.0%} of {machine.cores:g} are busy ({shares})"
    if server is not None and server.processes and min(each.occupied_share for each in server.processes) >= BUSY:
        return f"the server's processes: none of the {len(server.processes)} is idle"
    return ""


def _groups(case: Case) -> Iterator[Sequence[ScenarioRun]]:
    """The trials of each scenario that has a limit; where none has one, all scenario runs together.

    Of a search for the capacity the steps in which the target was at its limit.
    """
    sent = set(case.history.loc[case.history["sent_ns"] > 0, "scenario_run"])
    if case.capacity is not None:
        sent &= set(case.capacity.knee)
    scenario_runs = [
        scenario_run
        for scenario_run in case.scenario_runs
        if scenario_run.scenario.label in sent and scenario_run.scenario.id != S11
    ]
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


def weigh(measured: Measured, best_rps: float | None = None, *, at_limit: bool = False) -> Diagnosis:
    """The diagnosis of one scenario's numbers. ``best_rps`` is the rate of the null benchmark, None without one.

    ``at_limit``: it was sent all that it can take, so something is full although nothing is wrong with it.
    """
    machine = weigh_machine(measured)
    client = weigh_client(measured, best_rps, machine)
    commit, locks = weigh_commit(measured), weigh_locks(measured)
    churn, logs = weigh_churn(measured), weigh_logs(measured)
    pool = weigh_pool(measured, commit, locks, churn, logs)
    computing = weigh_computing(measured, churn, logs)
    seen = (commit, locks, pool, churn, logs, client, computing, machine)
    ordered = tuple(sorted((*seen, weigh_inside(measured, *seen)), key=_rank))
    undecided = [each for each in ordered if each.outcome == "undetermined"]
    first = ordered[0] if ordered[0].outcome == "supported" else None
    state: State = "supported" if first else "undetermined" if undecided else "nothing"
    if first is not None:
        answer = f"{first.title}: {first.because}"
    elif undecided:
        names, why = some((each.title for each in undecided), 2), undecided[0].because
        answer = f"undetermined: nothing that was sampled stands out; not decided: {names} ({why})"
    else:
        full = _name_what_is_full(measured) if at_limit else ""
        answer = f"{f'saturated: {full}' if full else 'nothing stands out'}: {_describe_load(measured)}"
    return Diagnosis(
        answer=answer,
        state=state,
        first=first.id if first else None,
        hypotheses=ordered,
        look_next=tuple(dict.fromkeys(each.because for each in undecided)),
        of=measured.scenario_runs,
        in_flight=measured.places(),
    )


def _rank(hypothesis: Hypothesis) -> tuple[int, int, float, str]:
    tier = _TIERS[hypothesis.id] if hypothesis.outcome == "supported" else 0
    return _OUTCOMES.index(hypothesis.outcome), tier, -hypothesis.score, hypothesis.id


def _score(diagnosis: Diagnosis) -> float:
    return diagnosis.hypotheses[0].score


def _describe_load(measured: Measured) -> str:
    """The figures of a run in which nothing stands out."""
    parts = [f"{measured.rate_per_s:,.0f} requests/s, {measured.in_flight:,.0f} in flight"]
    if measured.database is not None:
        parts.append(f"{measured.database.active:.1f} average active sessions in the database")
    if measured.client is not None:
        parts.append(f"the client at {measured.client.utilisation:.0%} of a core")
    if measured.machine is not None:
        parts.append(describe_machine(measured.machine))
    return ", ".join(parts)
