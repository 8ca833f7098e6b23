"""A million requests in one run, signed as they go: the worker's memory stays flat, its rows go to disk meanwhile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rig.calibrate.stub import null_stub
from rig.engine.pool import Load, Pool
from rig.evidence.history import History
from rig.evidence.scenario_runs import RESULT
from rig.profile import Profile
from tests.engine.scenes import RUN, credentials, scenario

COUNT = 1_000_000
GROWTH_LIMIT_BYTES = 32 << 20
PEAK_LIMIT_BYTES = 256 << 20
"""16 bytes a request say which share and tenant it belongs to; interpreter, libraries and connections are the rest."""


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_million_requests_in_flat_memory(profile: Profile, tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    # Stripe's signatures age and the run may last longer than half their tolerance: nothing is signed ahead.
    scene = scenario(COUNT, connections=50, route="stripe", deadline_s=500.0)
    rows_file = history.rows_file(scene, 0)
    seen_bytes: list[int] = []
    with null_stub() as stub, Pool(1) as pool:
        load = Load(scene, profile, RUN, credentials(profile), stub.endpoint, lambda _: rows_file)
        report = pool.run_scenario(load, progress=lambda _: seen_bytes.append(_size(rows_file)))
    (worker,) = report.present
    assert (worker.offered, worker.sent, worker.skipped) == (COUNT, COUNT, 0)
    growth_bytes = worker.rss_end_bytes - worker.rss_start_bytes
    print(  # noqa: T201  # the figures are what the test is run for
        f"\n{COUNT:,} requests in {report.elapsed_s:.1f} s, {report.cpu_us_per_request:.1f} µs each; memory "
        f"{worker.rss_start_bytes / 2**20:.1f} MiB at the start, {growth_bytes / 2**20:+.1f} MiB at the end, "
        f"peak {worker.max_rss_bytes / 2**20:.1f} MiB"
    )
    assert growth_bytes < GROWTH_LIMIT_BYTES
    assert worker.max_rss_bytes < PEAK_LIMIT_BYTES
    # Written as it goes: half of it lay on disk before it ended, in steps that never shrink.
    assert seen_bytes == sorted(seen_bytes)
    assert len({size for size in seen_bytes if 0 < size < COUNT * RESULT.itemsize}) > 10
    rows = np.fromfile(rows_file, dtype=RESULT)
    assert len(np.unique(rows["seq"])) == len(rows) == COUNT
    assert (rows["status"] == 200).all()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
