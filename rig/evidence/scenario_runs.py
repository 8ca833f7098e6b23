"""The results of a scenario run: a row an attempt, a report a worker, and all of them together. Frozen values.

Times are nanoseconds of the host's monotonic clock unless the name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rig.model import Scenario

RESULT = np.dtype(
    [
        ("seq", "<i8"),
        ("intended_ns", "<i8"),
        ("sent_ns", "<i8"),
        ("done_ns", "<i8"),
        ("connection", "<u4"),
        ("status", "<u2"),
        ("error_kind", "u1"),
        ("worker", "u1"),
    ]
)
"""One row per attempt as a worker writes it, 40 bytes, packed little-endian; a skipped request has ``sent_ns`` 0."""


RESULT_STRUCT = "<qqqqIHBB"
"""The same layout for ``struct``, which is what the timed path uses."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The machine during a scenario run: busy share of each core, stolen share of all, seconds throttled."""

    cores_busy: tuple[float, ...]
    steal: float
    throttled_s: float

    @property
    def busy(self) -> float:
        """Busy share of the whole machine."""
        return sum(self.cores_busy) / len(self.cores_busy) if self.cores_busy else 0.0


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another machine than the rig's: its name and boot, what it did meanwhile, how exactly its clock is known."""

    host: str
    boot_id: str
    machine: Interval
    clock_error_ns: int


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker's report about itself at the end of a scenario run. CPU in seconds, of the timed part if not named.

    ``offered`` counts attempts; ``repeats`` of them were not the first of their event.
    """

    worker: int
    offered: int
    sent: int
    skipped: int
    connects: int
    first_sent_ns: int
    last_done_ns: int
    cpu_user_s: float
    cpu_system_s: float
    wall_s: float
    build_cpu_s: float
    flush_cpu_s: float
    max_rss_bytes: int
    stalled_s: float = 0.0
    """Time in which the worker was ready to run and did not: stopped, throttled, or busy with something else."""
    cores_allowed: float = 1.0
    """CPU that affinity and quota allow it, cores. At most one, because it is one thread."""
    in_system_mean: float = 0.0
    """Mean number of requests due and not yet ended. The worker samples it; it is not derived from the rows."""
    in_system_samples: int = 0
    unsent_waited_s: float = 0.0
    """How long requests were due that were never sent, in all. They are in the mean, and have no end in the rows."""
    rss_start_bytes: int = 0
    """Memory when the clock started, with all requests built; ``rss_end_bytes`` is that after the last answer."""
    rss_end_bytes: int = 0
    signing_us: float = 0.0
    """CPU that it takes to make and sign one request, µs; 0 where nobody measured it."""
    signed_ahead: bool = True
    """Whether the requests were signed before the clock. Else this is part of the CPU of the timed part."""

    repeats: int = 0
    broken_rule: str = ""
    """A rule of HTTP that an answer broke, in words; empty where none did."""
    elsewhere: Elsewhere | None = None
    """The machine that it ran on, where that was not the rig's."""

    @property
    def name(self) -> str:
        """Which worker it is, and where."""
        return f"worker {self.worker}" + (f" on {self.elsewhere.host}" if self.elsewhere else "")

    @property
    def utilisation(self) -> float:
        """CPU used over CPU allowed during the timed part; 0 where it had none."""
        allowed_s = self.wall_s * self.cores_allowed
        return (self.cpu_user_s + self.cpu_system_s) / allowed_s if allowed_s > 0 else 0.0

    @property
    def cpu_us_per_request(self) -> float:
        """CPU of the timed part for each request that was sent, µs."""
        return (self.cpu_user_s + self.cpu_system_s) / self.sent * 1e6 if self.sent else 0.0

    @property
    def signing(self) -> str:
        """Which part of the timed CPU the signatures take, in words; empty where it is less than half."""
        return "" if self.signed_ahead else describe_signing(self.signing_us, self.cpu_us_per_request)


@dataclass(frozen=True, slots=True)
class ScenarioRun:
    """One scenario run: a report per worker, None where a worker gave none.

    ``machine`` is what the machine did meanwhile, None where nobody watched it.
    """

    scenario: Scenario
    workers: tuple[WorkerReport | None, ...]
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    machine: Interval | None = None

    @property
    def complete(self) -> bool:
        """True when every worker reported."""
        return all(report is not None for report in self.workers)

    @property
    def present(self) -> list[WorkerReport]:
        """The reports that arrived."""
        return [report for report in self.workers if report is not None]

    @property
    def elsewhere(self) -> tuple[Elsewhere, ...]:
        """The other machines on which workers ran, each once."""
        return tuple({each.boot_id: each for report in self.present if (each := report.elsewhere)}.values())

    @property
    def offered(self) -> int:
        """Attempts that were to be made: one for each request, and those that the workers repeated."""
        return self.scenario.count + sum(report.repeats for report in self.present)

    @property
    def span_ns(self) -> tuple[int, int]:
        """First request and last answer over all workers; (0, 0) when nothing was sent."""
        sent = [report for report in self.present if report.sent]
        return (min(r.first_sent_ns for r in sent), max(r.last_done_ns for r in sent)) if sent else (0, 0)

    @property
    def elapsed_s(self) -> float:
        """First request to last answer over all workers, seconds; 0 when nothing was sent."""
        first_sent_ns, last_done_ns = self.span_ns
        return (last_done_ns - first_sent_ns) / 1e9

    @property
    def cpu_us_per_request(self) -> float:
        """Client CPU (user and system) per sent request over the timed part, microseconds."""
        sent = sum(report.sent for report in self.present)
        cpu_s = sum(report.cpu_user_s + report.cpu_system_s for report in self.present)
        return cpu_s / sent * 1e6 if sent else 0.0

    @property
    def all_in_us_per_request(self) -> float:
        """As ``cpu_us_per_request``, with building and signing before and the flush at the end.

        A request that is sent again was built once.
        """
        sent = sum(report.sent for report in self.present)
        built = sum(report.offered - report.repeats for report in self.present)
        build_s = sum(report.build_cpu_s for report in self.present)
        flush_s = sum(report.flush_cpu_s for report in self.present)
        return self.cpu_us_per_request + ((build_s / built + flush_s / sent) * 1e6 if built and sent else 0.0)


def describe_signing(signing_us: float, cpu_us: float) -> str:
    """Which part of the CPU of a request its signature takes, in words; empty where that is less than half."""
    if signing_us <= 0 or signing_us < cpu_us / 2:
        return ""
    return f"signing takes {signing_us / 1e3:.2g} ms of the {max(cpu_us, signing_us) / 1e3:.2g} ms a request"
