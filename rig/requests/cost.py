"""What it costs to make and sign a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

_MOST = 21
_MOST_S = 0.05


def making_us(make: Callable[[int], object], seqs: Iterable[int]) -> float:
    """CPU µs that ``make`` takes for one of ``seqs``, from the first few of them; 0 where there are none.

    The very first is not counted: it also loads keys and compiles.
    """
    few: Iterator[int] = iter(islice(seqs, _MOST))
    for first in few:
        make(first)
        break
    began_s, made = time.thread_time(), 0
    for seq in few:
        make(seq)
        made += 1
        if time.thread_time() - began_s > _MOST_S:
            break
    return (time.thread_time() - began_s) / made * 1e6 if made else 0.0
