"""The first step of a run: is this client good enough to judge anybody, and are its latencies right?"""

from __future__ import annotations

from dataclasses import replace

from rig.calibrate.latency import FULL, QUICK, calibrate_latency
from rig.calibrate.null import null_benchmark
from rig.checks.judge import passes_calibration
from rig.engine.pool import Pool
from rig.evidence.case import Case
from rig.evidence.certificate import Certificate
from rig.run.open_run import OpenRun


def certify(run: OpenRun, pool: Pool) -> Certificate:
    """Null benchmark, then latency calibration; the certificate is written into the pack."""
    settings, pack, profile = run.job.settings, run.record.pack, run.job.profile
    folder = pack.path / "calibration"
    certificate = null_benchmark(
        pool,
        profile,
        run.key,
        folder,
        routes={scenario.route for scenario in run.job.scenarios},
        floor_rps=settings.floor_rps,
        trials=settings.null_trials,
        seconds=settings.null_seconds,
        stub_cores=run.cores.server,
        progress=run.reporter.stage,
    )
    pack.write_certificate(certificate)
    if not certificate.reason and settings.latency_calibration != "none":
        form = FULL if settings.latency_calibration == "full" else QUICK
        latency_calibration, rows = calibrate_latency(
            pool, profile, run.key, folder, form, stub_cores=run.cores.server, progress=run.reporter.stage
        )
        pack.write_latency_calibration(rows)
        certificate = replace(certificate, latency_calibration=latency_calibration)
        pack.write_certificate(certificate)
    return certificate


def is_certified(run: OpenRun, certificate: Certificate) -> bool:
    """Whether the client may judge anybody, as the gates of its calibration see it."""
    return passes_calibration(Case(settings=run.job.settings.document(), certificate=certificate))
