"""A run made of literals: what a good one, and a bad one, leaves behind. Nothing here is random without a seed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from rig.evidence.case import Case, Finding
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.evidence.scenario_runs import ScenarioRun, WorkerReport
from rig.evidence.truth import Discrepancy, DiscrepancyKind, Group, Total, TruthReport
from rig.model import Pace, RequestClass, Row, RunKey, Scenario, Share, Tenant
from tests.checks.cases import certificate, null_trial

EPOCH_NS = 5_000_000_000_000
STARTED = datetime(2026, 11, 21, 10, 41, tzinfo=UTC)
LADDER = ("S1", "S5", "S3", "S7", "S4", "S2", "S6")
TITLES = {"S1": "ReplayStorm", "S2": "UniqueStorm", "S3": "MalformedStorm", "S4": "PIIStorm", "S5": "CrossTenant"}
TITLES |= {"S6": "MixedStorm", "S7": "InvalidJson", "S8": "PerfGate", "S9": "Aliases"}


def scenario(name: str, step: int, trial: int = 1, tenants: int = 1, count: int | None = None) -> Scenario:
    perf = name == "S8"
    return Scenario(
        id=name,
        title=TITLES.get(name, "Sustained"),
        step=step,
        route="stripe",
        tenants=tuple(f"T{number}" for number in range(tenants)) if tenants > 2 else ("A",),
        shares=(Share(RequestClass.VALID, count or step),),
        pace=Pace(connections=200, rate_per_s=1000.0 if name == "sustained" else None),
        trial=trial,
        limit_s=10.0 if perf else None,
        p95_limit_ms=500.0 if name == "sustained" else None,
    )


def run_scenario(plan: Scenario, start_s: float, took_s: float, *, lost: int = 0, late: bool = False) -> tuple:
    """One scenario run and its rows. ``lost`` requests time out; ``late`` sends behind schedule for a while."""
    rng = np.random.default_rng(plan.step + plan.trial)
    count = plan.count
    start_ns = EPOCH_NS + int(start_s * 1e9)
    intended = start_ns + (np.arange(count) * took_s / count * 1e9).astype(np.int64)
    sent = intended.copy()
    if late:
        third = slice(count // 3, count // 2)
        sent[third] += 400_000_000
    service = (rng.lognormal(np.log(plan.pace.connections * took_s / count), 0.35, count) * 1e9).astype(np.int64)
    service = np.minimum(service, int(9e9))
    done = np.minimum(sent + service, start_ns + int(took_s * 1e9))
    done = np.maximum(done, sent + 100_000)
    outcome = np.array(["acknowledged"] * count, dtype=object)
    kind = np.array(["none"] * count, dtype=object)
    outcome[:lost], kind[:lost] = "indeterminate", "timeout"
    rows = pd.DataFrame(
        {
            "scenario": plan.id,
            "scenario_run": plan.label,
            "step": plan.step,
            "trial": plan.trial,
            "route": plan.route,
            "seq": np.arange(count),
            "class": "valid",
            "tenant": "A",
            "worker": np.arange(count) % 2,
            "connection": np.arange(count) % 200,
            "intended_ns": intended,
            "sent_ns": sent,
            "done_ns": done,
            "status": np.where(outcome == "acknowledged", 200, 0),
            "outcome": outcome,
            "error_kind": kind,
        }
    )
    worker = WorkerReport(
        worker=0,
        offered=count,
        sent=count,
        skipped=0,
        connects=200,
        first_sent_ns=int(sent[0]),
        last_done_ns=int(done.max()),
        cpu_user_s=count * 25e-6,
        cpu_system_s=count * 15e-6,
        wall_s=took_s,
        build_cpu_s=count * 20e-6,
        flush_cpu_s=0.01,
        max_rss_bytes=90_000_000,
    )
    return ScenarioRun(scenario=plan, workers=(worker,)), rows


def case(*, ladder: bool = True, sustained: bool = True, perf: bool = True, bad: bool = False) -> Case:
    scenario_runs, frames, clock_s = [], [], 8.0

    def add(plan: Scenario, took_s: float, **how: object) -> None:
        nonlocal clock_s
        report, rows = run_scenario(plan, clock_s, took_s, **how)
        scenario_runs.append(report)
        frames.append(rows)
        clock_s += took_s + 0.4

    if ladder:
        for step in (50, 250, 1000):
            for name in LADDER:
                add(scenario(name, step, count=min(step, 50) if name == "S7" else None), 0.02 + step / 2400)
        for name in ("S1", "S2", "S6"):
            add(scenario(name, 250, tenants=20), 0.3)
        add(scenario("S9", 2), 0.02)
    if perf:
        for trial, took_s in enumerate((3.62, 3.41, 3.50) if not bad else (9.2, 11.8, 12.4), start=1):
            add(scenario("S8", 10_000, trial), took_s, lost=40 if bad and trial == 3 else 0)
    if sustained:
        add(scenario("sustained", 10_000), 10.0, late=True)
    return Case(
        verb="run",
        settings={"steps": [50, 250, 1000], "trials": 3},
        profile={"name": "reference"},
        scenario_runs=tuple(scenario_runs),
        history=pd.concat(frames, ignore_index=True) if frames else Case().history,
        certificate=certificate(
            trials=tuple(null_trial(rps=rps) for rps in (41200.0, 43800.0, 42500.0)), latency_calibration=None
        ),
        truth=truth(bad=bad),
        probes=pd.DataFrame(
            {
                "at_ns": [EPOCH_NS + 9_000_000_000, EPOCH_NS + 10_000_000_000],
                "path": ["/health", "/health/ready"],
                "status": [200, 200],
                "elapsed_ns": [2_000_000, 5_000_000],
                "error": ["", ""],
            }
        ),
        leak_findings=(Finding("before", "ports free", True), Finding("after", "no orphan process", True)),
        notes=("2 cores: client, server and database share them",),
        epoch_monotonic_ns=EPOCH_NS,
    )


def truth(*, bad: bool = False) -> TruthReport:
    lost = Discrepancy(DiscrepancyKind.LOST, "S8-10000-stripe-1", "S8", "A", "7c9e6679-7425-40de-944b-e07fc1f90ae7")
    return TruthReport(
        groups=(Group("S8-10000-stripe-1", "S8", "A", 9801, 9801, 9800 if bad else 9801, 100, 100, 100),),
        totals=(
            Total("A", Row.CANONICAL, 11498, 11498, 11497 if bad else 11498),
            Total("A", Row.DEAD, 2980, 2980, 2980),
            Total("B", Row.CANONICAL, 1, 1, 1),
        ),
        discrepancies=(lost,) if bad else (),
        canary_hits=(),
        columns_scanned=31,
        log_files_scanned=("server-0.log",),
        duplicated_keys=0,
        keys_reconciled=14_479,
        read_s=0.81,
    )


def manifest(of: Case) -> Manifest:
    return Manifest(
        rig_version="0.1.0",
        verb=of.verb,
        argv=("rig", "run", "--seed", "7", "--out", "my results"),
        seed=7,
        key=RunKey(seed=7, run_id="3f0c9d2e", started_unix=1795257660),
        started_utc=STARTED,
        ended_utc=STARTED + timedelta(seconds=94.5),
        epoch_monotonic_ns=of.epoch_monotonic_ns,
        settings=of.settings,
        profile=of.profile,
        tenants=(Tenant("A", "0b1e"), Tenant("B", "5d2f")),
        fingerprint={"cores": 2, "kernel": "6.1.0", "postgres": {"version": "18.1", "fsync": "on"}, "dirty": False},
        scenario_runs=of.scenario_runs,
        notes=of.notes,
    )


def judgement(*, bad: bool = False) -> Judgement:
    gates = (
        Gate("EG3.1", Verdict.PASS, "no personal data anywhere", {"gates": ["privacy.rows", "privacy.logs"]}),
        Gate("EG3.2", Verdict.PASS, "replays leave one row a tenant", {"gates": ["S1.rows", "S5.rows"]}),
        Gate(
            "EG3.4",
            Verdict.FAIL if bad else Verdict.PASS,
            "10,000 events are ingested correctly in under 10 s",
            {"gates": ["S8.rows", "S8.time"]},
            "S8.rows and S8.time fail" if bad else "",
        ),
        Gate("calibration.null", Verdict.PASS, "the client passes the floor", {"rps": 42500.0, "floor_rps": 2000.0}),
        Gate("S1.rows", Verdict.PASS, "exactly 1 canonical row for the key", {"canonical": 1, "dead": 0}),
        Gate(
            "S8.rows",
            Verdict.FAIL if bad else Verdict.PASS,
            "9,801 canonical and 100 dead rows a trial",
            {"lost": int(bad), "canonical": [9800 if bad else 9801, 9801, 9801], "dead": [100, 100, 100]},
            "1 acknowledged event is lost: 7c9e6679-7425-40de-944b-e07fc1f90ae7" if bad else "",
        ),
        Gate(
            "S8.time",
            Verdict.FAIL if bad else Verdict.PASS,
            "the median trial answers all within 10.0 s",
            {
                "median_s": 11.8 if bad else 3.5,
                "limit_s": 10.0,
                "trials_s": [9.2, 11.8, 12.4] if bad else [3.62, 3.41, 3.5],
            },
            "the median of 3 trials took 11.8 s, 1.8 s over the limit" if bad else "",
        ),
        Gate(
            "sustained.p95",
            Verdict.PASS,
            "p95 response time within 500 ms",
            {"response_p95_ms": 412.0, "limit_ms": 500.0},
        ),
        Gate(
            "probes",
            Verdict.INVALID if bad else Verdict.PASS,
            "health and readiness answer beside every storm",
            {"asked": 2, "failed": 0},
            "only 2 answers were seen in 94 s: the prober died" if bad else "",
        ),
        Gate("privacy.logs", Verdict.NOT_RUN, "no personal data in logs", {}, "the profile names no log files"),
    )
    verdict = Verdict.FAIL if bad else Verdict.PASS
    return Judgement(verdict=verdict, exit_code=int(bad), gates=gates)
