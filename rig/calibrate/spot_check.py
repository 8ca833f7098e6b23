"""The spot check of a certificate that is reused: a second of the null benchmark and its highest certified rate."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from rig.calibrate.latency import CalibrationStep, LatencyBench, measured_step
from rig.calibrate.null import WARM_UP_REQUESTS, NullBench
from rig.calibrate.stub import latency_stub, null_stub
from rig.engine.pool import Pool
from rig.errors import EvidenceError
from rig.evidence.certificate import Certificate, Reuse
from rig.limits import LEAST_REQUESTS
from rig.model import RunKey
from rig.profile import Profile

_TRIAL_S, _STEP_S = 1.0, 0.6


def spot_check(
    pool: Pool,
    profile: Profile,
    run: RunKey,
    folder: Path,
    certificate: Certificate,
    reused: Reuse,
    *,
    stub_cores: Collection[int] = (),
    progress: Callable[[str], None] = lambda what: None,
) -> Reuse:
    """``reused`` with what is measured now, on the certificate's route. ``folder`` is removed at the end."""
    progress("spot check of the certificate")
    bench = NullBench(pool, profile, run, folder, (certificate.route,))
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise EvidenceError(f"the folder of the spot check, {folder}, cannot be made: {error}") from None
    try:
        with null_stub(cores=stub_cores) as stub:
            bench.run_scenario(stub, WARM_UP_REQUESTS)
            trial = bench.run_scenario(stub, LEAST_REQUESTS, _TRIAL_S)
        reused = replace(reused, trial=trial)
        calibration = certificate.latency_calibration
        covered = [step for step in calibration.steps if not step.flaw] if calibration else []
        if calibration and covered:
            highest = max(
                covered, key=lambda step: step.rate_per_s <= calibration.covered_rate_per_s and step.rate_per_s
            )
            step = CalibrationStep(highest.behaviour, highest.rate_per_s, _STEP_S)
            with latency_stub(cores=stub_cores) as stub:
                latency = LatencyBench(pool, profile, run, folder)
                rows, report = latency.run_scenario(stub, 1, step.behaviour, step, step.connections)
            reused = replace(reused, step=measured_step(step, rows, report))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return reused
