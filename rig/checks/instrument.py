"""Gates about the instrument itself: is the client good enough to blame the target, and do its counts agree?

``calibration.null`` holds the null benchmark against its floor; a certificate of another pack must hold here, too.
``accounting`` compares the workers' reports with the history: ``offered = skipped + sent``, and every attempt of a
request is in the history once. ``completion`` makes a run INVALID that was cut short. ``client_limits`` says why a
missed limit may be the client's fault.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from rig.checks.gates import GateKind, Kind, emits
from rig.checks.reuse import find_objections
from rig.evidence.case import Case, describe_missing_reports
from rig.evidence.certificate import Certificate
from rig.evidence.gate import Gate
from rig.evidence.history import was_skipped
from rig.evidence.scenario_runs import ScenarioRun
from rig.limits import BUSY, LEAST_REQUESTS, LEAST_S, LEAST_TRIALS, STALLED, STOLEN, THROTTLED
from rig.text import counted

NULL = GateKind("calibration.null", Kind.INSTRUMENT, "the client reaches the floor against a stub that does nothing")
ACCOUNTING = GateKind(
    "accounting",
    Kind.INSTRUMENT,
    "offered = sent + skipped, both in the workers' reports and in the history",
)

COMPLETION = GateKind("completion", Kind.INSTRUMENT, "the run came to its end and did all its work")


@emits(COMPLETION)
def check_completion(case: Case) -> list[Gate]:
    """INVALID where the run was cut short; no gate where it was not, because that is no claim of its own."""
    return [COMPLETION.decide({}, unproven=case.cut_short)] if case.cut_short else []


@emits(NULL)
def check_null(case: Case) -> list[Gate]:
    """The floor gate."""
    certificate = case.certificate
    if certificate is None:
        return [NULL.decide({}, unproven="the client was not calibrated")]
    if not certificate.trials:
        return [NULL.decide({}, unproven="the certificate rests on no trial")]
    median = certificate.median
    reused = certificate.reused
    figures: dict[str, object] = {
        "rps": round(certificate.rps),
        "trials_rps": [round(trial.rps) for trial in certificate.trials],
        "floor_rps": round(certificate.floor_rps),
        **({"certificate": reused.words} if reused else {}),
        "headroom": round(certificate.headroom, 1),
        "client_cpu_us_per_request": round(median.client_cpu_us_per_request, 1),
        "client_all_in_us_per_request": round(median.client_all_in_us_per_request, 1),
        "signing_us_per_request": round(median.signing_us_per_request, 1),
        "signed_ahead": median.signed_ahead,
        "route": certificate.route,
        "workers": certificate.workers,
        "weakness": weakness(certificate),
        "churn_rps": None if certificate.churn_rps is None else round(certificate.churn_rps),
    }
    if reused is not None:
        figures |= {
            "spot_check_rps": reused.trial and round(reused.trial.rps),
            "spot_check_cpu_us_per_request": reused.trial and round(reused.trial.client_cpu_us_per_request, 1),
            "spot_check_error_p99_ms": reused.step and reused.step.error_p99_ms,
            "spot_check_lag_p99_ms": reused.step and reused.step.lag_p99_ms,
        }
    unproven = ""
    if below_floor(certificate):
        unproven = f"{certificate.reason}: {certificate.explanation}" if certificate.reason else "below the floor"
    elif objections := find_objections(case):
        unproven = f"the certificate of {reused.pack if reused else ''} does not hold: {'; '.join(objections)}"
    return [NULL.decide(figures, unproven=unproven)]


def below_floor(certificate: Certificate) -> bool:
    """True where the client is too slow to judge a target."""
    return bool(certificate.reason) or (bool(certificate.trials) and certificate.rps < certificate.floor_rps)


@emits(ACCOUNTING)
def check_accounting(case: Case) -> list[Gate]:
    """Every request that was offered is in the history once, as the workers report it; no gate without load."""
    if not case.scenario_runs:
        return []
    faults: list[str] = []
    if missing := describe_missing_reports(case.scenario_runs):
        faults.append(missing)
    offered = sent = skipped = 0
    for run in case.scenario_runs:
        rows = case.rows_of(run)
        offered += run.offered
        sent += sum(report.sent for report in run.present)
        skipped += sum(report.skipped for report in run.present)
        if run.complete:
            unbalanced = _find_imbalances(run, rows)
            faults += [f"{run.scenario.label}: {fault}" for fault in unbalanced]
    figures = {"offered": offered, "sent": sent, "skipped": skipped, "rows": len(case.history)}
    if strange := len(case.history) - int(
        case.history["scenario_run"].isin([d.scenario.label for d in case.scenario_runs]).sum()
    ):
        rows_belong = counted(strange, "row of the history belongs", "rows of the history belong")
        faults.append(f"{rows_belong} to no scenario run")
    if not faults and not offered:
        return [ACCOUNTING.not_run("no request was to be offered, and none was", figures)]
    return [ACCOUNTING.decide(figures, unproven="; ".join(faults[:5]))]


def _find_imbalances(run: ScenarioRun, rows: pd.DataFrame) -> list[str]:
    faults = []
    offered = sum(report.offered - report.repeats for report in run.present)
    skipped = int(was_skipped(rows).sum())
    sent = len(rows) - skipped
    if offered != run.scenario.count:
        faults.append(f"{run.scenario.count} requests were to be offered, {offered} were")
    if any(report.offered != report.sent + report.skipped for report in run.present):
        faults.append("the counts of a worker contradict each other")
    if (sent, skipped) != (sum(r.sent for r in run.present), sum(r.skipped for r in run.present)):
        faults.append(f"the history has {sent} sent and {skipped} skipped, the workers report otherwise")
    if rows.duplicated(["seq", "attempt"]).any():
        faults.append("a request is in the history twice")
    if rows["seq"].nunique() < offered:
        faults.append("a request is not in the history")
    return faults


def describe_lost_rows(case: Case, runs: Iterable[ScenarioRun]) -> str:
    """Which scenario runs have requests that the history does not know; empty where none has."""
    lacking = {run.scenario.label: run.scenario.count - case.rows_of(run)["seq"].nunique() for run in runs}
    return "; ".join(
        f"{counted(count, 'request')} of {label} not in the history" for label, count in lacking.items() if count > 0
    )


def weakness(certificate: Certificate | None) -> str:
    """Why a certificate is too weak to blame the target; empty where it is not."""
    if certificate is None:
        return "certificate: the client was not calibrated"
    if len(certificate.trials) < LEAST_TRIALS:
        return f"certificate: it rests on {len(certificate.trials)} trials, fewer than {LEAST_TRIALS}"
    if min(trial.requests for trial in certificate.trials) < LEAST_REQUESTS:
        return f"certificate: its trials are shorter than {LEAST_REQUESTS:,} requests"
    if min(trial.elapsed_s for trial in certificate.trials) < LEAST_S:
        return f"certificate: its trials are shorter than {LEAST_S:g} s"
    return ""


def client_limits(run: ScenarioRun) -> list[str]:
    """Why the client, not the target, may have been the limit of a scenario run; empty where it was not."""
    limits = []
    for report in run.present:
        if report.wall_s <= 0 or not report.offered:  # it had nothing to do
            continue
        if report.utilisation >= BUSY:
            core = "its core" if report.cores_allowed >= 1 else f"the {report.cores_allowed:g} cores that it may use"
            signing = f"; {report.signing}" if report.signing else ""
            limits.append(f"client: {report.name} used {report.utilisation:.0%} of {core}{signing}")
        if report.stalled_s / report.wall_s >= STALLED:
            limits.append(f"client: {report.name} did not run for {report.stalled_s:.1f} s of {report.wall_s:.1f} s")
    return limits + _machine_limits(run)


def _machine_limits(run: ScenarioRun) -> list[str]:
    """What the hypervisor or a quota took from everybody on a machine, target and client."""
    elapsed_s = run.elapsed_s
    machines = [("machine", run.machine)] if run.machine is not None else []
    machines += [(f"machine {each.host}", each.machine) for each in run.elsewhere]
    limits = []
    for name, machine in machines if elapsed_s > 0 else ():
        if machine.steal >= STOLEN:
            limits.append(f"{name}: the hypervisor took {machine.steal:.0%} of its CPU time")
        if machine.throttled_s / elapsed_s >= THROTTLED:
            limits.append(f"{name}: a CPU quota held it back for {machine.throttled_s:.1f} s of {elapsed_s:.1f} s")
    return limits
