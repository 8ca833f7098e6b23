"""The first step of a run: is this client good enough to judge anybody, and are its latencies right?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from rig.calibrate.client import CalibratedClient
from rig.calibrate.latency import FULL, QUICK, calibrate_latency
from rig.calibrate.null import null_benchmark
from rig.checks.judge import passes_calibration
from rig.engine.pool import Pool
from rig.evidence.case import Case
from rig.evidence.certificate import Certificate
from rig.run.open_run import OpenRun
from rig.run.reuse import read_earlier, reuse_certificate
from rig.settings import Settings


def certify(run: OpenRun, pool: Pool) -> Certificate:
    """The certificate of the client, which is written into the pack: an earlier one where it holds, else a new one."""
    named = run.job.settings.certificate
    earlier = None if named is None else _reuse(run, pool, Path(named))
    return earlier or _measure(run, pool)


def _reuse(run: OpenRun, pool: Pool, path: Path) -> Certificate | None:
    """The certificate of an earlier pack; None where it does not hold, which a note says."""
    earlier, record = read_earlier(path), run.record
    certificate, words = reuse_certificate(
        earlier,
        run.client(pool),
        settings=run.job.settings,
        fingerprint=record.manifest.fingerprint,
        routes=run.routes,
    )
    run.reporter.stage(words)
    record.note(words)
    if certificate is not None:
        if certificate.latency_calibration is not None:
            record.pack.write_latency_calibration(earlier.latency_rows)
        record.pack.write_certificate(certificate)
    return certificate


def _measure(run: OpenRun, pool: Pool) -> Certificate:
    """Null benchmark, then latency calibration."""
    pack, certificate = run.record.pack, None
    for certificate, rows in measure_client(run.client(pool), run.job.settings, run.routes):
        if rows is not None:
            pack.write_latency_calibration(rows)
        pack.write_certificate(certificate)
    assert certificate is not None
    return certificate


def measure_client(
    client: CalibratedClient, settings: Settings, routes: Sequence[str]
) -> Iterator[tuple[Certificate, pd.DataFrame | None]]:
    """Null benchmark, then latency calibration where it is asked for; the certificate after each, and its rows.

    ``routes``: those of the run; empty for all of the profile.
    """
    certificate = null_benchmark(
        client,
        routes=routes,
        floor_rps=settings.floor_rps,
        trials=settings.null_trials,
        seconds=settings.null_seconds,
    )
    yield certificate, None
    if not certificate.reason and settings.latency_calibration != "none":
        form = FULL if settings.latency_calibration == "full" else QUICK
        latency_calibration, rows = calibrate_latency(client, form)
        yield replace(certificate, latency_calibration=latency_calibration), rows


def is_certified(run: OpenRun, certificate: Certificate) -> bool:
    """Whether the client may judge anybody, as the gates of its calibration see it."""
    return passes_calibration(Case(settings=run.job.settings.document(), certificate=certificate))
