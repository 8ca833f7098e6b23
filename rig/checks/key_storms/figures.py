"""Figures of a key storm, from the fetches as the origin counted them. Pure.

The figures of the callers are with the rules that use them (``answers``).
"""

from __future__ import annotations

from rig.evidence import overlap
from rig.evidence.key_storm import KeyStorm

CLOCKS = 0.99
"""Room for the difference between the origin's clock and the database's."""


def spans(storm: KeyStorm) -> list[tuple[int, int]]:
    """Start and end of every fetch, ns. A fetch ends at the latest with its process, or with the storm."""
    kill = storm.mark("kill")
    found = []
    for fetch in storm.fetches:
        end_ns = storm.ended_ns if fetch.end_ns is None else fetch.end_ns
        if kill is not None and fetch.member == kill.member and fetch.start_ns < kill.at_ns < end_ns:
            end_ns = kill.at_ns
        found.append((fetch.start_ns, end_ns))
    return found


def longest_fetch_s(storm: KeyStorm) -> float:
    """How long the longest fetch took, seconds; 0 where there was none."""
    return max(((end_ns - start_ns) / 1e9 for start_ns, end_ns in spans(storm)), default=0.0)


def most_at_once(storm: KeyStorm) -> int:
    """The most fetches at one instant."""
    return overlap.most_at_once(spans(storm))


def gaps_s(storm: KeyStorm) -> list[float]:
    """From the end of each fetch to the start of the next, seconds; negative where they overlap.

    The fetch in which its process was stopped is left out: nobody in the fleet can know how it ended.
    """
    stop = storm.mark("stop")
    found = [
        (start_ns, end_ns)
        for fetch, (start_ns, end_ns) in zip(storm.fetches, spans(storm), strict=True)
        if stop is None or fetch.member != stop.member or not start_ns < stop.at_ns < end_ns
    ]
    ended_ns = 0
    gaps = []
    for index, (start_ns, end_ns) in enumerate(found):
        if index:
            gaps.append((start_ns - ended_ns) / 1e9)
        ended_ns = max(ended_ns, end_ns)
    return gaps


def most_in_a_cool_down(storm: KeyStorm) -> int:
    """The most fetches that started within one cool-down."""
    starts = [start for start, _ in spans(storm)]
    cool_down_ns = round(storm.verifier_settings.cool_down_s * CLOCKS * 1e9)
    return max((sum(begin <= start < begin + cool_down_ns for start in starts) for begin in starts), default=0)


def duration_s(storm: KeyStorm) -> float:
    """From the release to the end of the last verification."""
    ended_ns = int(storm.calls["end_ns"].max()) if len(storm.calls) else storm.ended_ns
    return (ended_ns - storm.released_ns) / 1e9


def expected_fetches(storm: KeyStorm) -> int:
    """How many fetches a correct fleet makes at most: as many as necessary, or as many as the cool-down allows."""
    shortest_s = min(((end_ns - start_ns) / 1e9 for start_ns, end_ns in spans(storm)), default=0.0)
    room = 1 + int(duration_s(storm) / (storm.verifier_settings.cool_down_s + shortest_s))
    return max(storm.necessary or 1, room)


def amplification(storm: KeyStorm) -> float:
    """Fetches over the expected ones."""
    return len(storm.fetches) / expected_fetches(storm)
