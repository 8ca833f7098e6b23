"""Figures of a storm of unknown key ids, from the fetches as the origin counted them. Pure.

Not for what the callers say: those figures stand beside their rules, in ``rig.checks.key_storms``.
"""

from __future__ import annotations

from rig.evidence import overlap
from rig.evidence.key_storm import KeyStorm

CLOCKS = 0.99
"""The origin's clock against the database's, over seconds."""


def spans(storm: KeyStorm) -> list[tuple[int, int]]:
    """Start and end of every fetch, ns. One whose process was killed ended with it; an open one, with the storm."""
    kill = storm.mark("kill")
    found = []
    for fetch in storm.fetches:
        end_ns = storm.ended_ns if fetch.end_ns is None else fetch.end_ns
        if kill is not None and fetch.member == kill.member and fetch.start_ns < kill.at_ns < end_ns:
            end_ns = kill.at_ns
        found.append((fetch.start_ns, end_ns))
    return found


def most_at_once(storm: KeyStorm) -> int:
    """The most fetches at one instant."""
    return overlap.most_at_once(spans(storm))


def gaps_s(storm: KeyStorm) -> list[float]:
    """From the end of each fetch to the start of the next, seconds; negative where they overlap."""
    found = spans(storm)
    ended_ns = 0
    gaps = []
    for index, (start_ns, end_ns) in enumerate(found):
        if index:
            gaps.append((start_ns - ended_ns) / 1e9)
        ended_ns = max(ended_ns, end_ns)
    return gaps


def most_in_a_floor(storm: KeyStorm) -> int:
    """The most fetches that started within one floor."""
    starts = [start for start, _ in spans(storm)]
    floor_ns = round(storm.verifier_settings.floor_s * CLOCKS * 1e9)
    return max((sum(begin <= start < begin + floor_ns for start in starts) for begin in starts), default=0)


def duration_s(storm: KeyStorm) -> float:
    """From the release to the end of the last verification."""
    ended_ns = int(storm.calls["end_ns"].max()) if len(storm.calls) else storm.ended_ns
    return (ended_ns - storm.released_ns) / 1e9


def fair(storm: KeyStorm) -> int:
    """The least number of fetches that was necessary; where the floor left room for more, as many as that."""
    shortest_s = min(((end_ns - start_ns) / 1e9 for start_ns, end_ns in spans(storm)), default=0.0)
    room = 1 + int(duration_s(storm) / (storm.verifier_settings.floor_s + shortest_s))
    return max(storm.necessary or 1, room)


def amplification(storm: KeyStorm) -> float:
    """Fetches over what was fair."""
    return len(storm.fetches) / fair(storm)
