"""Takes the certificate of an earlier pack where it still holds, instead of certifying the client anew.

Flow: ``read_earlier`` opens the pack; ``reuse_certificate`` compares its conditions with those of this run, and only
where they are the same makes the spot check. It gives the objections beside the certificate (``rig.checks.reuse``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from rig.calibrate.client import CalibratedClient
from rig.calibrate.null import NullBench, explain
from rig.calibrate.spot_check import spot_check
from rig.checks.instrument import check_null
from rig.checks.latency_calibration import check_latency_calibration
from rig.checks.reuse import conditions_of, differ
from rig.errors import EvidenceError
from rig.evidence.case import Case
from rig.evidence.certificate import Certificate, Reuse
from rig.evidence.gate import Verdict
from rig.evidence.pack import Pack
from rig.settings import Settings


@dataclass(frozen=True, slots=True)
class EarlierCertificate:
    """The certificate of a pack, where it is from, and the rows behind its latency calibration."""

    certificate: Certificate
    reused: Reuse
    latency_rows: pd.DataFrame


def read_earlier(path: Path) -> EarlierCertificate:
    """The certificate of a finished pack; EvidenceError where the pack is none, was changed, or has no certificate.

    Where that pack has reused one itself, the age and the conditions are those of the first.
    """
    pack = Pack.open(path)
    digest, certificate, manifest = pack.require_intact(), pack.certificate(), pack.manifest()
    if certificate is None or not certificate.trials:
        raise EvidenceError(f"{path} holds no certificate; give the pack of a run, or that of rig calibrate")
    reused = certificate.reused
    if reused is None:
        conditions = conditions_of(manifest.fingerprint, manifest.profile, manifest.settings, certificate.route)
        reused = Reuse(pack.name, digest, manifest.started_utc, 0.0, conditions)
    age_h = (datetime.now(UTC) - reused.measured_utc).total_seconds() / 3600
    reused = replace(reused, age_h=round(age_h, 3), trial=None, step=None)
    return EarlierCertificate(certificate, reused, pack.latency_rows())


def reuse_certificate(
    earlier: EarlierCertificate,
    client: CalibratedClient,
    *,
    settings: Settings,
    fingerprint: Mapping[str, Any],
    routes: Sequence[str] = (),
) -> tuple[Certificate | None, str]:
    """The certificate as this run may use it, None where it does not hold; and what the run says of it.

    ``routes``: those of the run; empty for all of the profile.
    """
    certificate, reused = earlier.certificate, earlier.reused
    document = client.profile.model_dump(mode="json")
    now = conditions_of(fingerprint, document, settings.document(), certificate.route)
    objections = [*differ(reused, now), *_find_weaknesses(certificate, settings)]
    if not objections:
        names = list(routes or [route.name for route in client.profile.routes])
        costliest = NullBench(client, [certificate.route, *names]).route
        if costliest != certificate.route:
            objections.append(f"requests of route {costliest} cost more than those of {certificate.route}")
    if not objections:
        reused = spot_check(client, certificate, reused)
        certificate = explain(
            replace(certificate, reused=reused, floor_rps=settings.floor_rps, reason="", explanation="")
        )
        case = Case(settings=settings.document(), profile=document, fingerprint=fingerprint, certificate=certificate)
        gates = (*check_null(case), *check_latency_calibration(case))
        objections = [gate.reason for gate in gates if gate.verdict is Verdict.INVALID]
    if objections:
        said = "; ".join(objections)
        return None, f"the client is certified anew: the certificate of {reused.pack} does not hold here: {said}"
    return certificate, _describe(reused)


def _describe(reused: Reuse) -> str:
    """Whose certificate a run relies on, and what the spot check found."""
    trial, step, exact = reused.trial, reused.step, ""
    assert trial is not None
    if step is not None:
        error_ms = max(step.error_p99_ms, step.lag_p99_ms)
        exact = f", latencies exact to {error_ms:.1f} ms at {step.rate_per_s:,.0f}/s"
    return (
        f"the certificate is {reused.words}; the spot check agrees: {trial.rps:,.0f} requests/s, "
        f"{trial.client_cpu_us_per_request:.1f} µs of CPU a request{exact}"
    )


def _find_weaknesses(certificate: Certificate, settings: Settings) -> list[str]:
    """Why a certificate is weaker than what this run is asked for."""
    found = []
    if len(certificate.trials) < settings.null_trials:
        found.append(f"it rests on {len(certificate.trials)} trials, and {settings.null_trials} are asked for")
    if (shortest_s := min(trial.elapsed_s for trial in certificate.trials)) < settings.null_seconds:
        found.append(f"its trials lasted {shortest_s:.1f} s, and {settings.null_seconds:g} s are asked for")
    calibration = certificate.latency_calibration
    if settings.latency_calibration != "none" and calibration is None:
        found.append("it has no latency calibration")
    if settings.latency_calibration == "full" and calibration is not None and not calibration.full:
        found.append("its latency calibration is the quick one, and the full one is asked for")
    return found
