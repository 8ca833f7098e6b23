"""The rig: certify the client, storm a service, prove the truth in PostgreSQL.

In a notebook: ``import rig; run = rig.load("results/…")`` gives the tables of a pack as data frames
(``rig.report.frames``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rig.report.frames import LoadedPack

__version__ = "0.1.0"


def load(pack: Path | str) -> LoadedPack:
    """Open an evidence pack (a folder below ``results/``) as data frames; EvidenceError when it is none."""
    from rig.report.frames import load as load_pack  # late: pandas takes longer to import than most verbs run

    return load_pack(pack)
