"""``rig compare PACK PACK``: two finished packs side by side. Nothing in either is written to."""

from __future__ import annotations

from pathlib import Path

from rig.errors import EvidenceError, UsageError
from rig.evidence.pack import Pack
from rig.report.caveats import ComparedRun
from rig.report.comparison import RunComparison, compare


def compare_packs(before: Path, after: Path) -> RunComparison:
    """Verify both packs and compare what they hold.

    UsageError when both are the same run. EvidenceError when one is not finished or was changed, or when the two have
    nothing in common.
    """
    runs = [_read_run(path) for path in (before, after)]
    if runs[0].digest == runs[1].digest:
        raise UsageError(f"{before} and {after} are one and the same run: give two")
    compared = compare(*runs)
    if not compared.differences and not compared.share_a_gate:
        raise EvidenceError(
            f"{before} and {after} share no scenario run, no null benchmark and no gate: nothing to compare"
        )
    return compared


def _read_run(path: Path) -> ComparedRun:
    pack = Pack.open(path)
    digest = pack.require_intact()
    return ComparedRun(pack.name, digest, pack.manifest(), pack.load(), pack.require_judgement())
