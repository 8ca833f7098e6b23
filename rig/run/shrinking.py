"""Shrinks a shaped event that fails to the smallest one that still fails, by sending smaller ones. Pure but for that.

Flow: first as few changes as possible (delta debugging), then the value of each: the least size, the fewest letters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isqrt

from rig.chaos.minimise import minimise
from rig.model import ShapeKind
from rig.requests.shapes import Change

_EDGES = sorted({*(2**power for power in (7, 8, 15, 16, 31, 32, 53, 63, 64)), *(10**power for power in range(1, 31))})
"""Where services fail: a boundary is looked for here first."""

Changes = tuple[Change, ...]


class OutOfRequests(Exception):
    """No more requests may be sent."""


@dataclass
class Shrinker:
    """Shrinks one event. ``fails`` sends an event and says whether it fails in the same way; OutOfRequests ends it.

    ``best`` is the smallest event so far, ``is_smallest`` whether nothing smaller is left to try.
    """

    best: Changes
    fails: Callable[[Changes], bool]
    is_smallest: bool = False

    def shrink(self) -> None:
        """Make ``best`` as small as possible."""
        try:
            minimise(self.best, self._try)
            for at in range(len(self.best)):
                self._shrink_value(at)
            self.is_smallest = True
        except OutOfRequests:
            return

    def _try(self, changes: Changes) -> bool:
        if not self.fails(changes):
            return False
        self.best = changes
        return True

    def _shrink_value(self, at: int) -> None:
        change = self.best[at]

        def fails_with(smaller: Change) -> bool:
            return self._try((*self.best[:at], smaller, *self.best[at + 1 :]))

        if change.growth is not None:
            find_least(change.size, lambda size: fails_with(change.at_size(size)))
        elif change.kind is ShapeKind.TEXTS and isinstance(change.value, str) and len(change.value) > 1:
            letters = tuple(change.value)
            minimise(letters, lambda part: fails_with(replace(change, value="".join(part))))


def find_least(size: int, fails: Callable[[int], bool]) -> int:
    """The least size that fails, where all that are larger fail, too; ``size`` does. Edges are tried before others."""
    low, high = 0, size
    if size > 1 and not fails(size - 1):
        return size
    while low + 1 < high:
        edges = [edge for edge in _EDGES if low < edge < high]
        middle = edges[len(edges) // 2] if edges else (low + high) // 2
        if not fails(middle):
            low = middle
        elif edges and not fails(middle - 1):
            return middle
        else:
            high = middle
    return high


def find_most(least: int, most: int, is_accepted: Callable[[int], bool], share: float) -> int:
    """The largest size that is accepted, where all that are smaller are, too; ``most`` is not.

    ``share`` of it may be left untried. The sizes that are tried are odd: none is exact in fewer bits than it needs.
    """
    while most - least > max(1, share * least):
        middle = min(max(isqrt(least * most) | 1, least + 1), most - 1)
        if is_accepted(middle):
            least = middle
        else:
            most = middle
    return least
