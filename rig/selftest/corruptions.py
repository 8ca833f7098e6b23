"""Evidence that goes wrong after the run: each function changes the copy of a finished pack, which is judged anew.

What is changed here is what a disk, a crash or a bug of the rig could do to the files. The target was healthy, so
none of it may become a verdict on the target. Not for changed bytes in a sealed pack: ``rig check`` finds those.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from rig.evidence.manifest import UNENDED
from rig.evidence.pack import PROBES, TRUTH, Pack
from rig.selftest.bench import beforehand


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
def garble_history(pack: Pack) -> None:
    """A column of numbers holds words, so that checkers crash."""
    path = _history(pack, "S8")
    rows = pd.read_parquet(path)
    rows["intended_ns"] = "at noon"
    rows.to_parquet(path, index=False)


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
