"""The storms that belong to a whole run: few, short, and only those that the profile says how to make.

``rig storm`` makes the rest, and all cases of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rig.evidence.key_storm import KidStorm
from rig.evidence.storm import UNKNOWN_KID, StormReport
from rig.storms.catalog import let_loose
from rig.storms.environment import Ground, StormOrder

SHORT: Mapping[str, StormOrder] = {UNKNOWN_KID: StormOrder(processes=8, cases=("random-kids",))}
"""Under ten seconds in all, on two cores."""


def short_storms(ground: Ground) -> Iterator[StormReport | KidStorm]:
    """Let them loose, one after the other; a report for each as it ends. RigError as the storms raise it."""
    for name, order in SHORT.items():
        yield from let_loose(ground, name, order)
