"""Counters of the whole service, in Prometheus text. Each process can answer for all of them.

Flow: the supervisor makes a ``Board`` in an unlinked file and hands its descriptor to every serving process. Each
writes only its own row; any can read all. Every sample has a ``process`` label, so the sum over it is the service's.

Counters change with each request, the pool's gauges with each refresh of their process.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from stub_server.service.intake import Reason, WebhookOutcome

_CELL = ctypes.c_double  # every processor that matters writes it in one piece


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """One time series. ``labels`` is the text between the braces, without the process."""

    name: str
    labels: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """The help text and the type of all series of one name."""

    help: str
    kind: Literal["counter", "gauge"]


FAMILIES: Mapping[str, Family] = {
    "service_requests_total": Family("Webhook requests by route and outcome.", "counter"),
    "service_dead_letters_total": Family("Dead letters by reason.", "counter"),
    "service_requests_in_flight": Family("Webhook requests being handled.", "gauge"),
    "service_pool_connections": Family("Database connections of the pool.", "gauge"),
    "service_pool_connections_max": Family("Bound of the pool.", "gauge"),
    "service_pool_available": Family("Idle connections of the pool.", "gauge"),
    "service_pool_waiting": Family("Requests waiting for a connection.", "gauge"),
    "service_pool_timeouts_total": Family("Requests that waited for a connection in vain.", "counter"),
    "service_pool_acquire_wait_seconds_sum": Family("Time spent waiting for a connection.", "counter"),
    "service_pool_acquire_wait_seconds_count": Family("Connections acquired.", "counter"),
}


def request_series(route: str, outcome: WebhookOutcome) -> TimeSeries:
    """The series that counts one route's requests of one outcome."""
    return TimeSeries("service_requests_total", f'route="{route}",outcome="{outcome}"')


def dead_letter_series(reason: Reason) -> TimeSeries:
    """The series that counts dead letters of one reason."""
    return TimeSeries("service_dead_letters_total", f'reason="{reason}"')


def all_series(routes: Iterable[str]) -> tuple[TimeSeries, ...]:
    """Every series of a service with these routes, in the order of ``FAMILIES``."""
    labelled = [request_series(route, outcome) for route in routes for outcome in WebhookOutcome]
    labelled += [dead_letter_series(reason) for reason in Reason]
    labelled_names = {series.name for series in labelled}
    return (*labelled, *(TimeSeries(name) for name in FAMILIES if name not in labelled_names))


class Board:
    """A row of numbers for each process, in shared memory. Use ``create``, or an inherited descriptor."""

    def __init__(self, descriptor: int, series: tuple[TimeSeries, ...], processes: int) -> None:
        self._series = series
        self._processes = processes
        self.descriptor = descriptor
        cells = len(series) * processes
        self._cells = (_CELL * cells).from_buffer(mmap.mmap(descriptor, cells * ctypes.sizeof(_CELL)))

    @classmethod
    def create(cls, series: tuple[TimeSeries, ...], processes: int) -> Board:
        """A board of zeros in an unlinked file."""
        with tempfile.TemporaryFile() as file:
            file.truncate(len(series) * processes * ctypes.sizeof(_CELL))
            return cls(os.dup(file.fileno()), series, processes)

    def row(self, process: int) -> BoardRow:
        """The cells of one process, for that process to write."""
        first = process * len(self._series)
        return BoardRow(self._cells, {one: first + column for column, one in enumerate(self._series)})

    def text(self) -> str:
        """All cells as Prometheus text, version 0.0.4."""
        lines: list[str] = []
        width = len(self._series)
        family = ""
        for column, series in enumerate(self._series):
            if series.name != family:
                family = series.name
                about = FAMILIES[family]
                lines += [f"# HELP {family} {about.help}", f"# TYPE {family} {about.kind}"]
            for process in range(self._processes):
                labels = ",".join(filter(None, (series.labels, f'process="{process}"')))
                lines.append(f"{family}{{{labels}}} {self._cells[process * width + column]:.17g}")
        return "\n".join(lines) + "\n"


class BoardRow:
    """The numbers of one process."""

    def __init__(self, cells: ctypes.Array[ctypes.c_double], places: Mapping[TimeSeries, int]) -> None:
        self._cells = cells
        self._places = places

    def add(self, series: TimeSeries, amount: float = 1) -> None:
        self._cells[self._places[series]] += amount

    def set(self, series: TimeSeries, value: float) -> None:
        """Set a gauge, or a counter that somebody else counts."""
        self._cells[self._places[series]] = value
