"""What a defect does to the copy of a finished pack, as a disk, a crash or a bug of the rig could.

The target was healthy, so none of that may become a verdict on the target. Each is an ``apply``
(``rig.selftest.bench``). Not for changed bytes in a sealed pack: ``rig check`` finds those.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from rig.checks.reuse import conditions_of
from rig.evidence.certificate import Reuse
from rig.evidence.manifest import UNENDED
from rig.evidence.pack import CHAOS, PROBES, TRUTH, Pack
from rig.evidence.storm import StormReport
from rig.selftest.bench import beforehand


@beforehand
def take_certificate_of_another_machine(pack: Pack) -> None:
    """The certificate was taken from a pack of another processor; a spot check was as fast."""
    _pretend_reuse(pack, processor="another one")


@beforehand
def disagree_with_spot_check(pack: Pack) -> None:
    """The certificate was taken from a pack of this machine; a spot check reached half of its rate."""
    _pretend_reuse(pack, rate=0.5)


def _pretend_reuse(pack: Pack, rate: float = 1.0, **changed: Any) -> None:
    """Have the certificate of a pack say that it was taken from another, two hours old."""
    case = pack.load()
    found, now = case.certificate, case.fingerprint
    assert found is not None and found.latency_calibration is not None
    conditions = conditions_of(now, case.profile, case.settings, found.route) | changed
    trial, step = replace(found.median, rps=rate * found.rps), found.latency_calibration.steps[-1]
    measured = pack.manifest().started_utc - timedelta(hours=2)
    reused = Reuse("20260101T000000Z-calibrate-1", "0" * 64, measured, 2.0, conditions, trial, step)
    pack.write_certificate(replace(found, reused=reused))


def _history(pack: Pack, scenario: str) -> Path:
    """The rows of the first run of a scenario."""
    return min(pack.history_folder.glob(f"{scenario}-*.parquet"))


@beforehand
def lose_row(pack: Pack) -> None:
    """The last request of S2 is in no file."""
    path = _history(pack, "S2")
    pd.read_parquet(path).iloc[:-1].to_parquet(path, index=False)


@beforehand
def speed_up_clock(pack: Pack) -> None:
    """Every request is booked as answered in a third of its time."""
    for path in pack.history_folder.glob("*.parquet"):
        rows = pd.read_parquet(path)
        begun_ns = rows["intended_ns"]
        rows["done_ns"] = (begun_ns + (rows["done_ns"] - begun_ns) // 3).astype("int64")
        rows.to_parquet(path, index=False)


@beforehand
def lose_figures(pack: Pack) -> None:
    """A race test wrote its report without figures, so that its checker crashes."""
    pack.write_storm(StormReport(storm="migration-race", case="migration-race", without=(), processes=2, skew_ns=1))


@beforehand
def forget_probes(pack: Pack) -> None:
    """Nobody asked whether the service was alive."""
    (pack.path / PROBES).unlink()


@beforehand
def forget_end(pack: Pack) -> None:
    """What a run leaves that was killed when all but its last line was written."""
    pack.write_manifest(replace(pack.manifest(), cut_short=UNENDED))


@beforehand
def forget_truth(pack: Pack) -> None:
    """Nobody read the database."""
    (pack.path / TRUTH).unlink()


@beforehand
def forget_faults(pack: Pack) -> None:
    """Nobody wrote down which faults struck."""
    (pack.path / CHAOS).unlink()


@beforehand
def exhaust_client(pack: Pack) -> None:
    """The load processes of every step used all of their cores."""
    manifest = pack.manifest()
    runs = [
        replace(run, workers=tuple(replace(each, cpu_user_s=each.wall_s) for each in run.present))
        for run in manifest.scenario_runs
    ]
    pack.write_manifest(replace(manifest, scenario_runs=tuple(runs)))
