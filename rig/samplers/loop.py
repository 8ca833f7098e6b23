"""What every sampler's process does: take samples at a fixed rate, write them down, count missed ticks, end on request.

Flow: ``main`` reads its options from stdin (one JSON line), makes the sampler, reports on stdout that it is ready and
ticks until stdin closes or SIGTERM comes. So a sampler ends with the rig, however the rig ends. The options come
through stdin because the DSN among them must be on no command line and in no environment.

When a tick is late by whole periods, these are skipped and counted: a burst of ticks to catch up would sample the same
moment many times.
"""

from __future__ import annotations

import json
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol

from rig.evidence.journal import Journal
from rig.machine.open_files import raise_limit

NS = 1_000_000_000
_REPORT_EVERY_NS = NS
"""Open files of a sampler at most: four for each of more processes than a machine is likely to have."""


class Sampler(Protocol):
    """Samples one thing and adds what it finds to the journal it was made with."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What it found out at its start."""

    @property
    def unseen(self) -> tuple[str, ...]:
        """What it cannot see."""

    def tick(self, number: int) -> None:
        """Take a sample; ``number`` counts the ticks from 0, the missed ones included."""

    def finish(self) -> None:
        """Take the last sample."""


class Schedule:
    """When ticks are due: tick n at ``start_ns + n / hz``. Pure arithmetic."""

    def __init__(self, hz: float, start_ns: int) -> None:
        self._period_ns = round(NS / hz)
        self._start_ns = start_ns
        self.number = 0

    @property
    def due_ns(self) -> int:
        """When the next tick is due."""
        return self._start_ns + self.number * self._period_ns

    def skip_late_ticks(self, now_ns: int) -> int:
        """Skip the ticks whose whole period is over; how many those were."""
        late = (now_ns - self.due_ns) // self._period_ns
        if late <= 0:
            return 0
        self.number += late
        return late

    def advance(self) -> None:
        """Go on to the next tick."""
        self.number += 1


class EndRequested(Exception):
    """SIGTERM has come: the sampler must end."""


def main(make: Callable[[Mapping[str, Any], Journal], Sampler]) -> int:
    """Run a sampler's process; its exit code."""
    options = json.loads(sys.stdin.buffer.readline())
    raise_limit()
    journal = Journal(Path(options["journal"]))
    signal.signal(signal.SIGTERM, _request_end)
    try:
        sampler = make(options, journal)
        sys.stdout.write(json.dumps(dict(sampler.facts)) + "\n")
        sys.stdout.flush()
        keep_ticking(sampler, journal, float(options["hz"]))
    except EndRequested:
        pass  # before its first tick
    finally:
        journal.close()
    return 0


def keep_ticking(
    sampler: Sampler,
    journal: Journal,
    hz: float,
    *,
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], bool] | None = None,
) -> None:
    """Tick until ``sleep(seconds)`` is true (by default: stdin was closed), or ``EndRequested`` is raised."""
    started_ns = clock()
    schedule = Schedule(hz, started_ns)
    diary = _Diary(sampler, journal, hz, started_ns)
    try:
        while not (sleep or _closed_within)(max(0, schedule.due_ns - clock()) / NS):
            missed = schedule.skip_late_ticks(clock())
            at_ns = clock()
            sampler.tick(schedule.number)
            schedule.advance()
            diary.note(at_ns, clock() - at_ns, missed)
        diary.missed += schedule.skip_late_ticks(clock())
        sampler.finish()
    except EndRequested:
        diary.missed += schedule.skip_late_ticks(clock())
    diary.report(clock(), final=True)


class _Diary:
    """What a sampler reports about its own work: a row for each tick, a report every second."""

    def __init__(self, sampler: Sampler, journal: Journal, hz: float, started_ns: int) -> None:
        self._sampler = sampler
        self._journal = journal
        self._hz = hz
        self._started_ns = self._reported_ns = started_ns
        self._cost = resource.getrusage(resource.RUSAGE_SELF)
        self._ticks = 0
        self.missed = 0

    def note(self, at_ns: int, took_ns: int, missed: int) -> None:
        self._ticks += 1
        self.missed += missed
        self._journal.add("ticks", at_ns, [(took_ns, missed)])
        if at_ns - self._reported_ns >= _REPORT_EVERY_NS:
            self._reported_ns = at_ns
            self.report(at_ns)

    def report(self, now_ns: int, *, final: bool = False) -> None:
        cost = resource.getrusage(resource.RUSAGE_SELF)
        self._journal.report(
            now_ns,
            {
                "hz": self._hz,
                "ticks": self._ticks,
                "missed": self.missed,
                "wall_s": (now_ns - self._started_ns) / NS,
                "cpu_user_s": cost.ru_utime - self._cost.ru_utime,
                "cpu_system_s": cost.ru_stime - self._cost.ru_stime,
                "max_rss_bytes": _most_memory_bytes(),
                "unseen": list(self._sampler.unseen),
                "facts": dict(self._sampler.facts),
                "final": final,
            },
        )


def _most_memory_bytes() -> int:
    """The most memory held so far. Not ``ru_maxrss``: that starts with the memory of the rig itself."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split(None, 1)[0]) * 1024
    except (OSError, IndexError, ValueError):
        return 0


def _request_end(number: int, frame: object) -> NoReturn:
    raise EndRequested


def _closed_within(seconds: float) -> bool:
    """Sleep, unless the rig closes its end of stdin."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])
