"""What a run had wrong on purpose, in words: defects that were seeded, protections that were left out.

Whoever reads a FAIL must see that it was asked for, so every document has these words beside the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable

from rig.evidence.key_storm import KeyStormSummary
from rig.evidence.storm import UNKNOWN_KID, StormReport


def describe_purpose(defects: Iterable[object], storms: Iterable[StormReport | KeyStormSummary] = ()) -> str:
    """What was asked for by ``--defect`` and ``--without``; empty where nothing was."""
    seeded = ", ".join(map(str, defects))
    parts = [f"seeded into the service: {seeded} (--defect)"] if seeded else []
    names = {(_name(storm), ", ".join(storm.without)) for storm in storms if storm.without}
    parts += [f"left out of {name}: {without} (--without)" for name, without in sorted(names)]
    return "; ".join(parts)


def _name(storm: StormReport | KeyStormSummary) -> str:
    return storm.storm if isinstance(storm, StormReport) else UNKNOWN_KID
