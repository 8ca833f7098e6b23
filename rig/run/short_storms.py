"""The storms that belong to a whole run: few, short, and only those that the profile says how to make.

``rig storm`` makes the rest, and all cases of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rig.evidence.key_storm import KeyStorm
from rig.evidence.storm import UNKNOWN_KID, StormReport
from rig.storms.catalog import let_loose
from rig.storms.environment import StormEnvironment, StormOptions

SHORT: Mapping[str, StormOptions] = {UNKNOWN_KID: StormOptions(processes=8, cases=("random-kids",))}
"""Under ten seconds in all, on two cores."""


def short_storms(environment: StormEnvironment) -> Iterator[StormReport | KeyStorm]:
    """Let them loose, one after the other; a report for each as it ends. RigError as the storms raise it."""
    for name, order in SHORT.items():
        yield from let_loose(environment, name, order)
