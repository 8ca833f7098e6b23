"""What the instrument says of itself: is the client good enough to blame the target, and do its books balance?

``calibration.null`` holds the null benchmark against its floor; ``accounting`` asserts the identity
``offered = sent + skipped`` and ``sent = ok + fail + info`` between the workers' reports and the history.
``client_limits`` names what makes a performance FAIL inadmissible.
"""

from __future__ import annotations

from collections.abc import Sequence

from rig.checks.case import Case
from rig.model import Certificate, DriveReport, Gate, Outcome, Verdict

BUSY = 0.9
"""A worker that uses this share of the core it is allowed is at its limit."""
LEAST_TRIALS, LEAST_REQUESTS, LEAST_S = 3, 10_000, 2.0
"""What a null benchmark must rest on to be more than weak (CONTRACT section 3)."""
STALLED = 0.1
"""A worker that was ready to run and did not for this share of a drive was stopped or throttled."""


def check_null(case: Case) -> list[Gate]:
    """The floor gate; empty where the run was not asked for a calibration."""
    certificate = case.certificate
    rule = "the client reaches the floor against a stub that does nothing"
    if certificate is None:
        return [Gate("calibration.null", Verdict.INVALID, rule, reason="the client was not calibrated")]
    median = certificate.median
    figures = {
        "rps": round(certificate.rps),
        "rps_trials": [round(trial.rps) for trial in certificate.trials],
        "floor_rps": round(certificate.floor_rps),
        "headroom": round(certificate.headroom, 1),
        "client_cpu_us_per_request": round(median.client_cpu_us_per_request, 1),
        "client_all_in_us_per_request": round(median.client_all_in_us_per_request, 1),
        "workers": certificate.workers,
        "weakness": weakness(certificate),
        "churn_rps": None if certificate.churn_rps is None else round(certificate.churn_rps),
    }
    if certificate.reason:
        reason = f"{certificate.reason}: {certificate.explanation}"
        return [Gate("calibration.null", Verdict.INVALID, rule, figures, reason)]
    return [Gate("calibration.null", Verdict.PASS, rule, figures)]


def check_accounting(case: Case) -> list[Gate]:
    """Every request offered is in the history exactly once, as the workers report it."""
    rule = "offered = sent + skipped and sent = ok + fail + info, in the workers' reports and in the history alike"
    faults: list[str] = []
    offered = sent = skipped = 0
    for drive in case.drives:
        rows = case.rows_of(drive)
        offered += drive.scenario.count
        sent += sum(report.sent for report in drive.present)
        skipped += sum(report.skipped for report in drive.present)
        faults += [
            f"{drive.scenario.label}: {fault}"
            for fault in _unbalanced(drive, rows["seq"].tolist(), rows["outcome"].tolist())
        ]
    figures = {"offered": offered, "sent": sent, "skipped": skipped, "rows": len(case.history)}
    if faults:
        return [Gate("accounting", Verdict.INVALID, rule, figures, "; ".join(faults[:5]))]
    return [Gate("accounting", Verdict.PASS, rule, figures)]


def _unbalanced(drive: DriveReport, seqs: Sequence[int], outcomes: Sequence[str]) -> list[str]:
    if not drive.complete:
        return ["; ".join(drive.notes) or "a worker's report is missing"]
    faults = []
    offered = sum(report.offered for report in drive.present)
    skipped = sum(outcome == Outcome.SKIPPED for outcome in outcomes)
    sent = len(outcomes) - skipped
    if offered != drive.scenario.count:
        faults.append(f"{drive.scenario.count} requests were to be offered, {offered} were")
    if any(report.offered != report.sent + report.skipped for report in drive.present):
        faults.append("a worker's own books do not balance")
    if (sent, skipped) != (sum(r.sent for r in drive.present), sum(r.skipped for r in drive.present)):
        faults.append(f"the history has {sent} sent and {skipped} skipped, the workers report otherwise")
    if len(set(seqs)) != len(seqs):
        faults.append("a request is in the history twice")
    return faults


def weakness(certificate: Certificate | None) -> str:
    """Why a certificate cannot carry a blame on the target; empty when it can."""
    if certificate is None:
        return "certificate: the client was not calibrated"
    if len(certificate.trials) < LEAST_TRIALS:
        return f"certificate: it rests on {len(certificate.trials)} trials, fewer than {LEAST_TRIALS}"
    if min(trial.requests for trial in certificate.trials) < LEAST_REQUESTS:
        return f"certificate: its trials are shorter than {LEAST_REQUESTS:,} requests"
    if min(trial.elapsed_s for trial in certificate.trials) < LEAST_S:
        return f"certificate: its trials are shorter than {LEAST_S:g} s"
    return ""


def client_limits(drive: DriveReport) -> list[str]:
    """Why the client, not the target, may have been the limit of a drive; empty when it was not."""
    limits = []
    for report in drive.present:
        if report.wall_s <= 0:
            continue
        busy = (report.cpu_user_s + report.cpu_system_s) / report.wall_s
        if busy >= BUSY:
            limits.append(f"client: worker {report.worker} used {busy:.0%} of its core")
        if report.stalled_s / report.wall_s >= STALLED:
            limits.append(
                f"client: worker {report.worker} did not run for {report.stalled_s:.1f} s of {report.wall_s:.1f} s"
            )
    return limits
