"""Evidence that goes wrong after the run: a finished pack is copied, the copy is changed, and judged as any other.

What is changed here is what a disk, a crash or a bug of the rig could do to the files; the target was healthy. Nothing
of it may ever become a verdict on the target. Not for changed bytes in a sealed pack: ``rig check`` finds those.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from rig.evidence.hashes import SUMS
from rig.evidence.manifest import UNENDED
from rig.evidence.pack import PROBES, TRUTH, VERDICTS, Pack


def spoiled_copy(healthy: Path, copy: Pack, defect: str) -> None:
    """Fill an unfinished pack with the evidence of a healthy one and spoil it."""
    shutil.copytree(healthy, copy.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(SUMS, VERDICTS))
    SPOILERS[defect](copy)


def _history(pack: Pack, scenario: str) -> Path:
    """The rows of the first drive of a scenario."""
    return min(pack.history_folder.glob(f"{scenario}-*.parquet"))


def _row_lost(pack: Pack) -> None:
    path = _history(pack, "S2")
    pd.read_parquet(path).iloc[:-1].to_parquet(path, index=False)


def _clock_too_fast(pack: Pack) -> None:
    """Every request is booked as answered in a third of its time."""
    for path in pack.history_folder.glob("*.parquet"):
        rows = pd.read_parquet(path)
        begun_ns = rows["intended_ns"]
        rows["done_ns"] = (begun_ns + (rows["done_ns"] - begun_ns) // 3).astype("int64")
        rows.to_parquet(path, index=False)


def _history_garbled(pack: Pack) -> None:
    path = _history(pack, "S8")
    rows = pd.read_parquet(path)
    rows["intended_ns"] = "at noon"
    rows.to_parquet(path, index=False)


SPOILERS: Mapping[str, Callable[[Pack], None]] = {
    "row-lost": _row_lost,
    "crowd-row-lost": _row_lost,
    "clock-too-fast": _clock_too_fast,
    "probes-unasked": lambda pack: (pack.path / PROBES).unlink(),
    "run-cut-short": lambda pack: pack.write_manifest(replace(pack.manifest(), cut_short=UNENDED)),
    "truth-unread": lambda pack: (pack.path / TRUTH).unlink(),
    "history-garbled": _history_garbled,
}
"""By the names of ``rig.selftest.defects``."""
