"""The spot check of a certificate that is reused: a second of the null benchmark and its highest certified rate."""

from __future__ import annotations

from dataclasses import replace

from rig.calibrate.client import CalibratedClient
from rig.calibrate.latency import CalibrationStep, LatencyBench, measured_step
from rig.calibrate.null import WARM_UP_REQUESTS, NullBench
from rig.calibrate.stub import latency_stub, null_stub
from rig.evidence.certificate import Certificate, Reuse
from rig.limits import LEAST_REQUESTS

_TRIAL_S, _STEP_S = 1.0, 0.6


def spot_check(client: CalibratedClient, certificate: Certificate, reused: Reuse) -> Reuse:
    """``reused`` with what is measured now, on the certificate's route."""
    client.progress("spot check of the certificate")
    bench = NullBench(client, (certificate.route,))
    with client.open_folder("spot check"):
        with null_stub(cores=client.stub_cores) as stub:
            bench.run_scenario(stub, WARM_UP_REQUESTS)
            trial = bench.run_scenario(stub, LEAST_REQUESTS, _TRIAL_S)
        reused = replace(reused, trial=trial)
        calibration = certificate.latency_calibration
        covered = [step for step in calibration.steps if not step.flaw] if calibration else []
        if not calibration or not covered:
            return reused
        highest = max(covered, key=lambda step: step.rate_per_s <= calibration.covered_rate_per_s and step.rate_per_s)
        step = CalibrationStep(highest.behaviour, highest.rate_per_s, _STEP_S)
        with latency_stub(cores=client.stub_cores) as stub:
            rows, report = LatencyBench(client).run_scenario(stub, 1, step.behaviour, step, step.connections)
        return replace(reused, step=measured_step(step, rows, report))
