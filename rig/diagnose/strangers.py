"""Processes that are no part of the run: how much of the machine they held in some time, and which they were. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rig.diagnose import cpu
from rig.evidence.sample_names import PIDS, Role
from rig.evidence.samples import Samples

NEIGHBOUR = 0.05
"""Share of the machine's cores. With less, the machine was the run's own: it spends as much on itself."""
_NAMED = 3
_LEAST_CORES = 0.05


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the run, monotonic ns."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Strangers:
    """The ``share`` of all cores that they held, the share that was ``busy`` at all, and ``names`` with cores."""

    share: float
    busy: float
    names: tuple[tuple[str, float], ...] = ()

    @property
    def noticeable(self) -> bool:
        """Whether the machine was not the run's own."""
        return self.share >= NEIGHBOUR

    def __str__(self) -> str:
        named = ", ".join(f"{name} {cores:.1f}" for name, cores in self.names[:_NAMED])
        return f"other processes held {self.share:.0%} of the machine" + (f" ({named} cores)" if named else "")


def find_strangers(samples: Samples, spans: Sequence[Span]) -> Strangers | None:
    """What strangers held within the spans; None where that is not known.

    A target or a database whose processes were not found would count as strangers.
    """
    report = samples.report(PIDS)
    if report is None or not report.facts.get("postgres_found") or not (samples.pids["role"] == Role.SERVER).any():
        return None
    held = busy = seconds = cores = 0.0
    for span in spans:
        whole = cpu.machine(samples, span.start_ns, span.end_ns)
        if whole is None:
            return None
        cores = whole.cores
        held += float(cpu.by_role(samples, span.start_ns, span.end_ns)[Role.OTHER]) * span.seconds
        busy += whole.busy_cores * span.seconds
        seconds += span.seconds
    if not seconds or not cores:
        return None
    return Strangers(held / seconds / cores, busy / seconds / cores, _name(samples, spans, seconds))


def _name(samples: Samples, spans: Sequence[Span], seconds: float) -> tuple[tuple[str, float], ...]:
    """Commands and the average cores that they used within the spans, the largest first."""
    frame = samples.others
    since_ns, at_ns = (frame[column].to_numpy(np.int64) for column in ("since_ns", "at_ns"))
    inside_ns = sum(
        (np.clip(np.minimum(at_ns, s.end_ns) - np.maximum(since_ns, s.start_ns), 0, None) for s in spans),
        start=np.zeros(len(frame)),
    )
    cores = (frame["cpu_s"] * inside_ns / np.maximum(at_ns - since_ns, 1)).groupby(
        frame["name"].str.replace("/.*", "", regex=True)
    ).sum() / seconds
    largest = cores[cores >= _LEAST_CORES].sort_values(ascending=False, kind="stable")
    return tuple((str(name), float(used)) for name, used in largest.items())


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Spans without overlap, in order, each widened to at least a second: samplers see nothing shorter."""
    wide = []
    for span in spans:
        missing_ns = max(0, 1_000_000_000 - (span.end_ns - span.start_ns))
        wide.append(Span(span.start_ns - missing_ns // 2, span.end_ns + missing_ns // 2))
    merged: list[Span] = []
    for span in sorted(wide, key=lambda span: span.start_ns):
        if merged and span.start_ns <= merged[-1].end_ns:
            merged[-1] = Span(merged[-1].start_ns, max(merged[-1].end_ns, span.end_ns))
        else:
            merged.append(span)
    return merged
