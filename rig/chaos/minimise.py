"""Delta debugging: the fewest faults of a schedule that still fail. Pure, but for the runs that its caller makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


def minimise(faults: Sequence[T], fails: Callable[[tuple[T, ...]], bool], suspects: Sequence[T] = ()) -> tuple[T, ...]:
    """A part of ``faults`` that fails, of which none can be left out (ddmin). ``fails`` is asked once for each part.

    All of them are known to fail, and none of them not to. Each of the ``suspects`` is tried alone first.
    """
    known: dict[tuple[int, ...], bool] = {}

    def does_fail(numbers: tuple[int, ...]) -> bool:
        if numbers not in known:
            known[numbers] = fails(tuple(faults[number] for number in numbers))
        return known[numbers]

    left, pieces = tuple(range(len(faults))), 2
    alone = next((number for number in map(faults.index, suspects) if len(left) > 1 and does_fail((number,))), None)
    if alone is not None:
        return (faults[alone],)
    while len(left) > 1:
        parts = _split(left, pieces)
        rests = [tuple(number for number in left if number not in part) for part in parts] if pieces > 2 else []
        smaller = next((part for part in (*parts, *rests) if does_fail(part)), None)
        if smaller is not None:
            pieces = 2 if smaller in parts else pieces - 1
            left = smaller
        elif pieces >= len(left):
            break
        else:
            pieces = min(len(left), 2 * pieces)
    return tuple(faults[number] for number in left)


def _split(numbers: tuple[int, ...], pieces: int) -> list[tuple[int, ...]]:
    """As many parts as even as possible."""
    edges = [len(numbers) * piece // pieces for piece in range(pieces + 1)]
    return [numbers[begin:end] for begin, end in pairwise(edges)]
