"""Whether a certificate that was taken from another pack holds for this run. Pure.

It holds while machine, code and sender are the same, for a day, and where a spot check of this run agrees with it. The
run asks before it relies on it, and certifies the client anew where there is an objection. ``calibration.null`` asks
again whenever the pack is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rig.evidence.case import Case
from rig.evidence.certificate import Certificate, Reuse

LONGEST_H = 24.0
"""A certificate is not reused when it is older."""
_SLOWEST = 0.75
"""The spot check may reach this share of the certified rate: trials of one certificate differ by up to a tenth."""
_COSTLIEST = 1.25
"""The spot check may take this many times the certified CPU a request, and the certified time to sign one."""
_COARSEST, _COARSEST_MS = 2.0, 1.0
"""Its errors may be this many times the certified resolution and this much more: the p99 of a second varies so."""
_SIGNING_US = 20.0

_SHORT = 40
_SENDER = "sender of route "
_MACHINE_AND_CODE = {
    "boot_id": "start of the machine",
    "cpu_model": "processor",
    "cores": "number of cores",
    "cores_allowed": "number of cores that may be used",
    "cpu_quota_cores": "CPU quota",
    "cpu_governor": "CPU governor",
    "memory_bytes": "memory",
    "kernel": "kernel",
    "python": "Python",
    "libraries": "set of libraries",
    "rig": "version of the rig",
    "code_sha256": "code of the rig",
}
"""Keys of the fingerprint that must be the same, in words."""


def conditions_of(
    fingerprint: Mapping[str, Any], profile: Mapping[str, Any], settings: Mapping[str, Any], route: str
) -> dict[str, Any]:
    """What a certificate depends on, by its name in words: machine, code, workers and the sender of its route."""
    planning = fingerprint.get("core_planning")
    planning = planning if isinstance(planning, Mapping) else {}
    sender = next((each for each in profile.get("routes", ()) if each.get("name") == route), None)
    return {
        **{words: fingerprint.get(key) for key, words in _MACHINE_AND_CODE.items()},
        "choice of cores": [planning.get("client", []), planning.get("server", [])],
        "number of workers": settings.get("workers"),
        f"{_SENDER}{route}": sender and {"route": sender, "headers": profile.get("headers")},
    }


def find_objections(case: Case) -> list[str]:
    """Why a reused certificate does not hold, in words; empty where it does, and for one that was not reused."""
    certificate = case.certificate
    if certificate is None or certificate.reused is None:
        return []
    reused = certificate.reused
    now = conditions_of(case.fingerprint, case.profile, case.settings, certificate.route)
    return [*differ(reused, now), *_disagree(certificate, reused)]


def differ(reused: Reuse, now: Mapping[str, Any]) -> Iterator[str]:
    """What has changed since a certificate was made, before anything is measured."""
    if not 0 <= reused.age_h <= LONGEST_H:
        yield f"it is {reused.age_h:.1f} h old, and holds for {LONGEST_H:g} h"
    for name, value in now.items():
        then = reused.conditions.get(name)
        if then != value or (name.startswith(_SENDER) and value is None):
            is_short = all(isinstance(each, str | int | float) and len(str(each)) <= _SHORT for each in (then, value))
            yield f"the {name} is another" + (f": {value}, was {then}" if is_short else "")


def _disagree(certificate: Certificate, reused: Reuse) -> Iterator[str]:
    """In what the spot check and the certificate disagree."""
    trial, median, calibration = reused.trial, certificate.median, certificate.latency_calibration
    if trial is None:
        yield "there was no spot check"
        return
    if trial.failures:
        yield f"{trial.failures:,} of {trial.requests:,} requests of the spot check had no proper answer"
    if trial.rps < _SLOWEST * certificate.rps:
        yield f"the spot check reached {trial.rps:,.0f} requests/s, the certificate says {certificate.rps:,.0f}"
    cost_us, certified_us = trial.client_cpu_us_per_request, median.client_cpu_us_per_request
    if cost_us > _COSTLIEST * certified_us:
        yield f"the spot check took {cost_us:.1f} µs of CPU a request, the certificate says {certified_us:.1f}"
    signing_us, certified_us = trial.signing_us_per_request, median.signing_us_per_request
    if signing_us > _COSTLIEST * certified_us + _SIGNING_US:
        yield f"in the spot check a signature took {signing_us:,.0f} µs, the certificate says {certified_us:,.0f}"
    if calibration is None:
        return
    step, most_ms = reused.step, _COARSEST * calibration.resolution_ms + _COARSEST_MS
    if step is None:
        yield "the spot check measured no latency"
    elif step.flaw:
        yield f"spot check, {step.name}: {step.flaw}"
    elif step.rate_per_s < calibration.covered_rate_per_s:
        covered = f"the certificate covers {calibration.covered_rate_per_s:,.0f}/s"
        yield f"the spot check ran at {step.rate_per_s:,.0f}/s, {covered}"
    elif max(step.error_p99_ms, step.lag_p99_ms) > most_ms:
        found_ms = max(step.error_p99_ms, step.lag_p99_ms)
        yield f"the spot check was exact to {found_ms:.1f} ms, the certificate says {calibration.resolution_ms:.1f}"
