"""A worker that is lost while the client is certified: nothing was judged, and nobody is to blame (INVALID, 3)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from rig.calibrate.client import CalibratedClient
from rig.calibrate.latency import QUICK, calibrate_latency
from rig.calibrate.null import null_benchmark
from rig.engine.pool import Load, Pool
from rig.errors import EvidenceError
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import RunKey
from rig.profile import bundled_profile, load_profile

RUN = RunKey(seed=1, run_id="lost-worker", started_unix=1_800_000_000)


class Silent:
    """A pool whose only worker never reports."""

    size = 1
    pids = (os.getpid(),)

    def run_scenario(self, load: Load, **_: Any) -> ScenarioRun:
        return ScenarioRun(load.scenario, (None,), notes=("worker 0 died (exit code -9)",))


@pytest.mark.parametrize("part", ["null benchmark", "latency calibration"])
def test_a_lost_worker(part: str, tmp_path: Path) -> None:
    client = CalibratedClient(cast(Pool, Silent()), load_profile(bundled_profile()), RUN, tmp_path / "calibration")
    with pytest.raises(EvidenceError, match=f"the {part} has no result: worker 0 died"):
        if part == "latency calibration":
            calibrate_latency(client, QUICK)
        else:
            null_benchmark(client)


@pytest.mark.parametrize("part", ["null benchmark", "latency calibration"])
def test_no_room_for_its_rows(part: str, tmp_path: Path) -> None:
    """A file stands where a folder is to be made, as a full disk would refuse one."""
    occupied = tmp_path / "results"
    occupied.write_text("")
    client = CalibratedClient(cast(Pool, Silent()), load_profile(bundled_profile()), RUN, occupied / "calibration")
    with pytest.raises(EvidenceError, match="cannot be made"):
        if part == "latency calibration":
            calibrate_latency(client, QUICK)
        else:
            null_benchmark(client)
