"""``calibration.latency_calibration``: what measured latency is worth; and why it may carry no blame on the target.

The certificate says up to which rate, and how finely, measured latency follows known latency. The gate passes where at
least one rate is covered and the freeze of a server was measured as it was.

``schedule_limits`` and ``coverage_gaps`` turn a *missed* latency limit into INVALID: the client was behind its own
schedule, or the certificate does not cover what was measured.
"""

from __future__ import annotations

import pandas as pd

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case
from rig.evidence.certificate import Certificate
from rig.evidence.gate import Gate, Verdict
from rig.evidence.latency_calibration import COARSEST_MS, TOLERANCE_MS, TOLERANCE_SHARE, LatencyCalibration
from rig.evidence.scenario_runs import ScenarioRun
from rig.stats import pacer_lag_ns, quantile

LAG_SHARE = 0.05
"""The pacer's lag at p99 may be so large a part of the latency limit, or ``LAG_LEAST_MS`` where that is more."""
LAG_LEAST_MS = 10.0
LATENCY = GateKind(
    "calibration.ruler",
    Kind.INSTRUMENT,
    "measured latency follows known latency, request by request, and a server that stands still shows in the response "
    "time and only in the service time of the requests then in flight",
)


@emits(LATENCY)
def check_latency_calibration(case: Case) -> list[Gate]:
    """The gate; NOT-RUN where the run was not asked for it, or its client was below the floor."""
    certificate = case.certificate
    if certificate is None or certificate.latency_calibration is None:
        reason = _why_missing(case)
        asked = not reason
        verdict = Verdict.INVALID if asked else Verdict.NOT_RUN
        return [Gate(LATENCY.pattern, verdict, LATENCY.rule, reason=reason or "it was asked for, and there is none")]
    latency_calibration = certificate.latency_calibration
    flaws = [f"{step.name}: {step.flaw}" for step in latency_calibration.steps if step.flaw]
    if latency_calibration.freeze.flaw:
        return [
            _gate(
                latency_calibration,
                Verdict.INVALID,
                f"a freeze of {latency_calibration.freeze.froze_s:g} s: {latency_calibration.freeze.flaw}",
            )
        ]
    if not latency_calibration.covered_rate_per_s:
        return [
            _gate(
                latency_calibration,
                Verdict.INVALID,
                f"no rate is covered: {'; '.join(flaws) or 'nothing was measured'}",
            )
        ]
    # Higher rates that are not covered are a figure: whoever claims something there is refused.
    return [_gate(latency_calibration, Verdict.PASS, "")]


def _why_missing(case: Case) -> str:
    """Why there is no ruler certificate, in words; empty when there should be one."""
    if case.settings.get("latency_calibration", "none") == "none":
        return "it was not asked for"
    if case.certificate is None or case.certificate.reason:
        return "the client was not certified before"
    return ""


def _gate(latency_calibration: LatencyCalibration, verdict: Verdict, reason: str) -> Gate:
    steps, freeze = latency_calibration.steps, latency_calibration.freeze
    figures = {
        "covered_rate_per_s": round(latency_calibration.covered_rate_per_s),
        "resolution_ms": round(latency_calibration.resolution_ms, 3),
        "exact_steps": f"{sum(step.exact for step in steps)} of {len(steps)}",
        "tolerance": f"{TOLERANCE_MS:g} ms or {TOLERANCE_SHARE:.0%}",
        "form": "full" if latency_calibration.full else "quick",
        "freeze_s": freeze.froze_s,
        "freeze_response_p95_ms": freeze.response_p95_ms,
        "freeze_service_p99_ms": freeze.service_p99_ms,
        "freeze_service_max_ms": freeze.service_max_ms,
        "error_p50_ms": {step.name: step.error_p50_ms for step in steps},
        "error_p99_ms": {step.name: step.error_p99_ms for step in steps},
        "lag_p50_p99_max_ms": {step.name: (step.lag_p50_ms, step.lag_p99_ms, step.lag_max_ms) for step in steps},
        "coarsest_ms": COARSEST_MS,
    }
    return Gate(LATENCY.pattern, verdict, LATENCY.rule, figures, reason)


def schedule_limits(scenario_run: ScenarioRun, rows: pd.DataFrame) -> list[str]:
    """Why an open loop was not the load that it claims to be; empty when it was. Nothing is said of a closed loop."""
    if not scenario_run.scenario.pace.rate_per_s:
        return []
    limits = []
    if skipped := scenario_run.scenario.count - int((rows["sent_ns"] > 0).sum()):
        limits.append(f"client: {skipped} arrivals were skipped")
    lag_ms = pacer_lag_ns(rows) / 1e6
    p99_ms = quantile(lag_ms, 0.99)
    limit_ms = max(LAG_LEAST_MS, LAG_SHARE * (scenario_run.scenario.p95_limit_ms or 0.0))
    if p99_ms > limit_ms:
        limits.append(f"client: the pacer was {p99_ms:.1f} ms late at p99, more than {limit_ms:g} ms")
    return limits


def coverage_gaps(certificate: Certificate | None, scenario_run: ScenarioRun) -> list[str]:
    """Why the certificate does not carry a latency measured in an open loop; empty when it does."""
    rate_per_s = scenario_run.scenario.pace.rate_per_s
    if certificate is None or not rate_per_s:
        return []
    latency_calibration = certificate.latency_calibration
    if latency_calibration is None:
        return ["certificate: measured latency was not checked against known latency"]
    if latency_calibration.freeze.flaw:
        return [f"certificate: a freeze was not seen: {latency_calibration.freeze.flaw}"]
    if rate_per_s > latency_calibration.covered_rate_per_s:
        covered = (
            f"{latency_calibration.covered_rate_per_s:,.0f}/s" if latency_calibration.covered_rate_per_s else "no rate"
        )
        return [f"certificate: {rate_per_s:,.0f}/s is beyond what it covers ({covered})"]
    return []


def too_close(certificate: Certificate | None, value_ms: float, limit_ms: float) -> list[str]:
    """Why a latency above its limit may not be above it: they are closer together than the ruler can tell."""
    latency_calibration = certificate.latency_calibration if certificate else None
    if latency_calibration is None or not limit_ms < value_ms <= limit_ms + latency_calibration.resolution_ms:
        return []
    return [f"certificate: its resolution is {latency_calibration.resolution_ms:.1f} ms"]
