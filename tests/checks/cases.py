"""Cases made of literals: a scenario, how each of its requests ended, what the database held.

``driven`` makes one scenario run with its history; ``case`` puts scenario runs together, with a strong certificate and
a truth without discrepancies unless told otherwise. A request is due every millisecond and answered a millisecond after
it was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from rig.evidence.case import PROBE_COLUMNS, Case
from rig.evidence.certificate import Certificate, NullTrial
from rig.evidence.gate import Gate, Verdict
from rig.evidence.history import COLUMNS
from rig.evidence.latency_calibration import Freeze, LatencyCalibration, LatencyStep
from rig.evidence.sample_names import PIDS, Role
from rig.evidence.samples import SamplerReport, Samples, with_types
from rig.evidence.scenario_runs import ScenarioRun, WorkerReport
from rig.evidence.truth import Group, Total, TruthReport
from rig.model import Outcome, Pace, RequestClass, Row, Scenario, Share

MS = 1_000_000
START_NS = 1_000_000 * MS
_NAMES = ("scenario", "scenario_run", "route", "class", "tenant", "outcome", "error_kind")


@dataclass(frozen=True)
class Ending:
    """How a request ended."""

    outcome: Outcome
    status: int
    error_kind: str


OK = Ending(Outcome.ACKNOWLEDGED, 200, "none")
REFUSED = Ending(Outcome.REFUSED, 401, "none")
BROKEN = Ending(Outcome.REFUSED, 500, "none")
UNCONNECTED = Ending(Outcome.NOT_SENT, 0, "connect")
TIMEOUT = Ending(Outcome.INDETERMINATE, 0, "timeout")
RESET = Ending(Outcome.INDETERMINATE, 0, "connection_lost")
STALE = Ending(Outcome.INDETERMINATE, 0, "stale_connection")
ABORTED = Ending(Outcome.INDETERMINATE, 0, "aborted")
SKIPPED = Ending(Outcome.NOT_SENT, 0, "skipped")


def plan(
    name: str = "S2", count: int = 10, request_class: RequestClass = RequestClass.VALID, **changes: Any
) -> Scenario:
    """A scenario of one share for tenant A."""
    scenario = Scenario(name, name, count, "stripe", ("A",), (Share(request_class, count),), Pace(10))
    return replace(scenario, **changes)


@dataclass(frozen=True)
class Driven:
    """One scenario run: its report and its rows."""

    report: ScenarioRun
    rows: pd.DataFrame


def driven(
    scenario: Scenario,
    endings: Sequence[Ending] = (),
    *,
    took_s: float = 1.0,
    response_ms: Sequence[float] = (),
    reported: bool = True,
    interrupted: bool = False,
    notes: Sequence[str] = (),
    **worker: Any,
) -> Driven:
    """One scenario run by one worker. ``endings`` by seq, OK for the rest; ``response_ms`` by seq, 1 ms for the rest.

    ``worker`` overrides what the worker says of itself; with ``reported`` False it says nothing.
    """
    ended = [*endings, *[OK] * (scenario.count - len(endings))]
    waits = [*response_ms, *[1.0] * (scenario.count - len(response_ms))]
    rows = []
    for seq, (ending, wait_ms) in enumerate(zip(ended, waits, strict=True)):
        due_ns = START_NS + seq * MS
        sent = ending is not SKIPPED
        times = (due_ns, due_ns, due_ns + int(wait_ms * MS)) if sent else (due_ns, 0, 0)
        who = (scenario.id, scenario.label, scenario.step, scenario.trial, scenario.route)
        what = (seq, 1, _class_of(scenario, seq), "A", 0, 0)
        rows.append((*who, *what, *times, ending.status, ending.outcome.value, ending.error_kind))
    skipped = ended.count(SKIPPED)
    report = WorkerReport(
        worker=0,
        offered=scenario.count,
        sent=scenario.count - skipped,
        skipped=skipped,
        connects=10,
        first_sent_ns=START_NS,
        last_done_ns=START_NS + int(took_s * 1e9),
        cpu_user_s=0.2,
        cpu_system_s=0.1,
        wall_s=1.0,
        build_cpu_s=0.1,
        flush_cpu_s=0.1,
        max_rss_bytes=1,
    )
    workers = (replace(report, **worker) if reported else None,)
    return Driven(ScenarioRun(scenario, workers, interrupted, tuple(notes)), pd.DataFrame(rows, columns=list(COLUMNS)))


def _class_of(scenario: Scenario, seq: int) -> str:
    for share in scenario.shares:
        if seq < share.count:
            return share.request_class.value
        seq -= share.count
    raise IndexError(seq)


def latency_step(rate_per_s: float = 500.0, **changes: Any) -> LatencyStep:
    """A step of the calibration that was exact: 5 ms, measured as 5.1."""
    exact = LatencyStep(
        behaviour="5ms",
        rate_per_s=rate_per_s,
        requests=1000,
        unanswered=0,
        skipped=0,
        delivered_p50_ms=5.0,
        delivered_p99_ms=5.2,
        measured_p50_ms=5.1,
        measured_p99_ms=5.3,
        error_p50_ms=0.1,
        error_p99_ms=0.2,
        error_max_ms=0.4,
        relative_p50=0.02,
        relative_p99=0.04,
        exact_share=0.995,
        lag_p50_ms=0.03,
        lag_p99_ms=0.1,
        lag_max_ms=0.5,
        client_cpu_us_per_request=20.0,
        worker_utilisation=0.1,
    )
    return replace(exact, **changes)


def freeze(**changes: Any) -> Freeze:
    """A freeze of one second that was seen for what it was."""
    seen = Freeze(
        rate_per_s=1000.0,
        froze_s=1.0,
        requests=10_000,
        unanswered=0,
        skipped=0,
        response_p95_ms=500.0,
        response_max_ms=1000.0,
        service_p99_ms=0.4,
        service_max_ms=1000.0,
    )
    return replace(seen, **changes)


def latency_calibration(*steps: LatencyStep, **changes: Any) -> LatencyCalibration:
    """An exact calibration that covers up to 2,000/s unless ``steps`` say otherwise."""
    return replace(LatencyCalibration(False, steps or (latency_step(), latency_step(2000.0)), freeze()), **changes)


def null_trial(**changes: Any) -> NullTrial:
    """A long trial above the floor, with nothing at its limit."""
    trial = NullTrial(
        rps=30_000,
        elapsed_s=2.5,
        requests=75_000,
        failures=0,
        client_cpu_us_per_request=15,
        client_all_in_us_per_request=30,
        worker_utilisation=0.5,
        stub_utilisation=0.5,
        stalled=0.0,
        cores_busy=(0.9, 0.9),
        steal=0.0,
        throttled_s=0.0,
    )
    return replace(trial, **changes)


def certificate(**changes: Any) -> Certificate:
    """A certificate that is good enough to blame a target: three long trials above the floor, exact latencies."""
    found = Certificate(2000, 1, (null_trial(),) * 3, latency_calibration=latency_calibration())
    return replace(found, **changes)


def slow_certificate(reason: str = "") -> Certificate:
    """One below the floor, with or without a reason."""
    strong = certificate()
    return replace(strong, trials=tuple(replace(trial, rps=1243.0) for trial in strong.trials), reason=reason)


def group(scenario: Scenario, **changes: Any) -> Group:
    """What a scenario run left, as it must be: every request one canonical row."""
    count = scenario.count
    clean = Group(scenario.label, scenario.id, "A", count, count, count, 0, 0, 0)
    return replace(clean, **changes)


def truth(groups: Iterable[Group] = (), **changes: Any) -> TruthReport:
    """A clean read of the database whose totals follow from the groups."""
    groups = tuple(groups)
    canonical = sum(each.canonical for each in groups)
    dead = sum(each.dead for each in groups)
    clean = TruthReport(
        groups=groups,
        totals=(
            Total("A", Row.CANONICAL, canonical, canonical, canonical),
            Total("A", Row.DEAD, dead, dead, dead),
        ),
        discrepancies=(),
        canary_hits=(),
        columns_scanned=12,
        log_files_scanned=("target.log",),
        duplicated_keys=0,
        keys_reconciled=canonical + dead,
        read_s=0.1,
    )
    return replace(clean, **changes)


def case(*scenario_runs: Driven, **parts: Any) -> Case:
    """A case of some scenario runs; the truth is clean and the certificate strong unless ``parts`` say otherwise."""
    history = (
        pd.concat([scenario_run.rows for scenario_run in scenario_runs], ignore_index=True)
        if scenario_runs
        else Case().history
    )
    for name in _NAMES:  # as rig.evidence.history reads them back
        history[name] = history[name].astype("category")
    made: dict[str, Any] = {
        "scenario_runs": tuple(scenario_run.report for scenario_run in scenario_runs),
        "history": history,
        "certificate": certificate(),
        "truth": truth(group(scenario_run.report.scenario) for scenario_run in scenario_runs),
    }
    return Case(**{**made, **parts})


def probes(*asked: tuple[float, str, int]) -> pd.DataFrame:
    """Questions of the prober: (ms after the start, path, status); 0 is one without an answer."""
    rows = [
        (START_NS + int(at_ms * MS), path, status, 2 * MS, "" if status else "refused") for at_ms, path, status in asked
    ]
    return pd.DataFrame(rows, columns=list(PROBE_COLUMNS))


def by_id(gates: Iterable[Gate]) -> Mapping[str, Gate]:
    """Gates by their id; each id comes once."""
    gates = list(gates)
    found = {gate.id: gate for gate in gates}
    assert len(found) == len(gates), [gate.id for gate in gates]
    return found


def verdicts(gates: Iterable[Gate]) -> dict[str, Verdict]:
    """Verdicts by gate id."""
    return {name: gate.verdict for name, gate in by_id(gates).items()}


def beside(*stretches: tuple[float, float, float], cores: int = 2) -> Samples:
    """Strangers hold a share of the machine from one second to another of a minute; the run uses a tenth of a core."""
    held_s = own_s = 0.0
    machine, pids, others = [], [], []
    for tick in range(301):
        at_s, at_ns = tick / 5, START_NS + tick * 200 * MS
        share = sum(share for begin_s, end_s, share in stretches if begin_s < at_s <= end_s)
        held_s, own_s = held_s + share * cores / 5, own_s + 0.02
        machine.append((at_ns, held_s + own_s, 0.0, cores * at_s - held_s - own_s, 0.0, 0.0, 0.0))
        pids.append((at_ns, 5, Role.SERVER, own_s, 0, 0, 0, 0, 0, 1, 1, 3, 0, 0, 0, "S"))
        others.append((at_ns, at_ns - 200 * MS, 9, "compiler", share * cores / 5))
    tables = {"machine": machine, "pids": pids, "others": others}
    facts = {"cores": cores, "postgres_found": True}
    frames = {table: with_types(table, rows) for table, rows in tables.items()}
    return Samples(**frames, reports=(SamplerReport(name=PIDS, facts=facts),))
