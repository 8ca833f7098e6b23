"""``calibration.latency_calibration``: what measured latency is worth; and why it may carry no blame on the target.

The certificate says up to which rate, and how finely, measured latency follows known latency. The gate passes where at
least one rate is covered and the freeze of a server was measured as it was.

``schedule_limits`` and ``coverage_gaps`` turn a *missed* latency limit into INVALID: the client was behind its own
schedule, or the certificate does not cover what was measured.
"""

from __future__ import annotations

from math import inf

import pandas as pd

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case
from rig.evidence.certificate import Certificate
from rig.evidence.gate import Gate
from rig.evidence.latency_calibration import COARSEST_MS, TOLERANCE_MS, TOLERANCE_SHARE, LatencyCalibration
from rig.evidence.scenario_runs import ScenarioRun
from rig.stats import pacer_lag_ns, quantile

LAG_SHARE = 0.05
"""The p99 of the pacer's lag may be this share of the latency limit, or ``LAG_LEAST_MS`` where that is more."""
LAG_LEAST_MS = 10.0
LATENCY = GateKind(
    "calibration.ruler",
    Kind.INSTRUMENT,
    "measured latency equals known latency, request by request; a freeze lengthens all response times, but the service "
    "times only of the requests in flight",
)


@emits(LATENCY)
def check_latency_calibration(case: Case) -> list[Gate]:
    """The gate; NOT-RUN where the run was not asked for the calibration, or its client was below the floor."""
    certificate = case.certificate
    if certificate is None or certificate.latency_calibration is None:
        reason = _why_missing(case)
        return [
            LATENCY.not_run(reason) if reason else LATENCY.decide({}, unproven="it was asked for, and there is none")
        ]
    found = certificate.latency_calibration
    unproven = ""
    if found.freeze.flaw:
        unproven = f"a freeze of {found.freeze.froze_s:g} s: {found.freeze.flaw}"
    elif not found.covered_rate_per_s:
        flaws = [f"{step.name}: {step.flaw}" for step in found.steps if step.flaw]
        unproven = f"no rate is covered: {'; '.join(flaws) or 'nothing was measured'}"
    # A higher rate that is not covered does not fail the gate: a claim at that rate is refused.
    return [LATENCY.decide(_figures(found), unproven=unproven)]


def _why_missing(case: Case) -> str:
    """Why there is no latency certificate; empty where there should be one."""
    if case.settings.get("latency_calibration", "none") == "none":
        return "it was not asked for"
    if case.certificate is None or case.certificate.reason:
        return "the client was not certified before"
    return ""


def _figures(calibration: LatencyCalibration) -> dict[str, object]:
    steps, freeze = calibration.steps, calibration.freeze
    return {
        "covered_rate_per_s": round(calibration.covered_rate_per_s),
        "resolution_ms": round(calibration.resolution_ms, 3),
        "exact_steps": f"{sum(step.exact for step in steps)} of {len(steps)}",
        "tolerance": f"{TOLERANCE_MS:g} ms or {TOLERANCE_SHARE:.0%}",
        "form": "full" if calibration.full else "quick",
        "freeze_s": freeze.froze_s,
        "freeze_response_p95_ms": freeze.response_p95_ms,
        "freeze_service_p99_ms": freeze.service_p99_ms,
        "freeze_service_max_ms": freeze.service_max_ms,
        "error_p50_ms": {step.name: step.error_p50_ms for step in steps},
        "error_p99_ms": {step.name: step.error_p99_ms for step in steps},
        "lag_p50_p99_max_ms": {step.name: (step.lag_p50_ms, step.lag_p99_ms, step.lag_max_ms) for step in steps},
        "coarsest_ms": COARSEST_MS,
    }


def schedule_limits(run: ScenarioRun, rows: pd.DataFrame) -> list[str]:
    """Why an open loop did not send what was due; empty where it did, and for a closed loop."""
    if not run.scenario.pace.rate_per_s:
        return []
    limits = []
    if skipped := run.scenario.count - int((rows["sent_ns"] > 0).sum()):
        limits.append(f"client: {skipped} arrivals were skipped")
    return limits + lag_limits(run, rows)


def lag_limits(run: ScenarioRun, rows: pd.DataFrame) -> list[str]:
    """Why an open loop sent later than was due although a connection was free; empty where it did not."""
    p99_ms = quantile(pacer_lag_ns(rows) / 1e6, 0.99)
    limit_ms = max(LAG_LEAST_MS, LAG_SHARE * (run.scenario.p95_limit_ms or 0.0))
    return (
        [f"client: the pacer was {p99_ms:.1f} ms late at p99, more than {limit_ms:g} ms"] if p99_ms > limit_ms else []
    )


def coverage_gaps(certificate: Certificate | None, run: ScenarioRun) -> list[str]:
    """Why the certificate does not cover a latency that was measured in an open loop; empty where it does."""
    rate_per_s = _client_rate_per_s(certificate, run)
    if certificate is None or not rate_per_s:
        return []
    calibration = certificate.latency_calibration
    if calibration is None:
        return ["certificate: measured latency was not checked against known latency"]
    if calibration.freeze.flaw:
        return [f"certificate: a freeze was not seen: {calibration.freeze.flaw}"]
    if rate_per_s > calibration.covered_rate_per_s:
        covered = f"{calibration.covered_rate_per_s:,.0f}/s" if calibration.covered_rate_per_s else "no rate"
        return [f"certificate: {rate_per_s:,.0f}/s is beyond what it covers ({covered})"]
    return []


def largest_error_ms(certificate: Certificate | None, run: ScenarioRun) -> float:
    """By how much a latency may be wrong at the rate of an open loop (p99), covered or not; infinite: nobody knows."""
    calibration = certificate.latency_calibration if certificate else None
    rate_per_s = _client_rate_per_s(certificate, run)
    if calibration is None or calibration.freeze.flaw or not any(s.rate_per_s >= rate_per_s for s in calibration.steps):
        return inf
    return max(inf if step.unanswered or step.skipped else step.error_p99_ms for step in calibration.steps)


def _client_rate_per_s(certificate: Certificate | None, run: ScenarioRun) -> float:
    """The rate of an open loop for one client of those that were certified, which share it; 0 in a closed loop.

    One client is all workers of the rig's machine, or one native worker of several.
    """
    of_one = 1.0 if certificate is None else min(1.0, certificate.workers / len(run.workers))
    return (run.scenario.pace.rate_per_s or 0.0) * of_one


def too_close(certificate: Certificate | None, value_ms: float, limit_ms: float) -> list[str]:
    """Why a latency above its limit may not be above it: both are closer together than the calibration's resolution."""
    calibration = certificate.latency_calibration if certificate else None
    if calibration is None or not limit_ms < value_ms <= limit_ms + calibration.resolution_ms:
        return []
    return [f"certificate: its resolution is {calibration.resolution_ms:.1f} ms"]
