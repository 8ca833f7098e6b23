"""The frozen values that every part of the rig speaks in. No I/O, no clock, no randomness.

Flow of the nouns: a ``Scenario`` says what is sent; each request ends as one row of ``RESULT``; the database is read
into a ``TruthReport``; pure checkers turn all of it into ``Gate`` values, each with a ``Verdict``.

Times are nanoseconds of the host's monotonic clock unless the name says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from rig.ruler import Ruler


class RequestClass(StrEnum):
    """What kind of request it is; the profile says what a target must answer to each."""

    VALID = "valid"
    REPLAY = "replay"
    MALFORMED = "malformed"
    PERSONAL = "personal"
    INVALID_JSON = "invalid_json"


class Row(StrEnum):
    """Where the row of a request must lie."""

    CANONICAL = "canonical"
    DEAD = "dead"
    NONE = "none"


class Outcome(StrEnum):
    """How a request ended. ``info`` is indeterminate: the row may or may not exist."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"
    SKIPPED = "skipped"


# --- what is sent -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a scenario: ``count`` requests of one class.

    ``one_key`` sends one and the same event again and again (one per tenant); ``source`` is the ``utm_source`` that the
    body carries, and ``channel`` the canonical channel that it must be stored under (None: not checked).
    """

    request_class: RequestClass
    count: int
    one_key: bool = False
    source: str | None = None
    channel: str | None = None


class Arrivals(StrEnum):
    """How the requests of an open loop are spread over time (``rig.engine.pacer``)."""

    CONSTANT = "constant"
    POISSON = "poisson"
    RAMP = "ramp"
    BURST = "burst"


@dataclass(frozen=True, slots=True)
class Pace:
    """When requests are sent.

    ``rate_per_s`` None is the closed loop: each of ``connections`` sends its next request when the last was answered.
    Otherwise it is the open loop: requests are due at that rate, answered or not. A ramp climbs to it from
    ``ramp_from_per_s`` within ``ramp_over_s``; a burst sends ``burst_size`` at once and keeps the rate in the mean.
    """

    connections: int
    rate_per_s: float | None = None
    arrivals: Arrivals = Arrivals.CONSTANT
    ramp_from_per_s: float = 0.0
    ramp_over_s: float = 0.0
    burst_size: int = 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """One drive: which requests, in which order, how paced, for which tenants.

    ``key_step`` stands for ``step`` in the keys, so that several steps may share one key (the documented composition);
    ``shared_key`` makes a one-key share use the same key for every tenant. ``limit_s`` is a gate on the time from the
    first request to the last answer; ``p95_limit_ms`` one on response time. Past ``deadline_s`` nothing is sent.
    """

    id: str
    title: str
    step: int
    route: str
    tenants: tuple[str, ...]
    shares: tuple[Share, ...]
    pace: Pace
    trial: int = 1
    key_step: int | None = None
    shared_key: bool = False
    shuffled: bool = False
    timeout_s: float = 10.0
    deadline_s: float = 120.0
    limit_s: float | None = None
    p95_limit_ms: float | None = None

    @property
    def count(self) -> int:
        """Number of requests offered."""
        return sum(share.count for share in self.shares)

    @property
    def label(self) -> str:
        """Unique name of the drive within a run, fit for a file name."""
        spread = f"-T{len(self.tenants)}" if len(self.tenants) > 2 else ""
        return f"{self.id}-{self.step}-{self.route}{spread}-{self.trial}"


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant of a run; ``id`` is what its rows carry. Its credentials are kept elsewhere, never in a pack."""

    name: str
    id: str


@dataclass(frozen=True, slots=True)
class RunKey:
    """What every key, body and canary of a run derives from. ``started_unix`` dates the bodies (s)."""

    seed: int
    run_id: str
    started_unix: int


# --- what happened ----------------------------------------------------------------------------------------------

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
"""One row per request as a worker writes it, 40 bytes, packed little-endian; a skipped request has ``sent_ns`` 0."""

RESULT_STRUCT = "<qqqqIHBB"
"""The same layout for ``struct``, which is what the timed path uses."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker says of itself at the end of a drive. CPU in seconds over the timed part unless named otherwise."""

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
    """CPU that it might use, cores; never more than one, for it is one thread (affinity, quota)."""
    in_system_mean: float = 0.0
    """Requests due and not yet ended, mean over time, sampled by the worker and not derived from its rows."""
    in_system_samples: int = 0
    rss_start_bytes: int = 0
    """Memory when the clock started, everything built and signed; ``rss_end_bytes`` when the last answer was in."""
    rss_end_bytes: int = 0

    @property
    def utilisation(self) -> float:
        """CPU used over CPU allowed during the timed part; 0 where it had none."""
        allowed_s = self.wall_s * self.cores_allowed
        return (self.cpu_user_s + self.cpu_system_s) / allowed_s if allowed_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """What the machine did meanwhile: busy share of each core, stolen share of all, seconds throttled."""

    cores_busy: tuple[float, ...]
    steal: float
    throttled_s: float

    @property
    def busy(self) -> float:
        """Busy share of the whole machine."""
        return sum(self.cores_busy) / len(self.cores_busy) if self.cores_busy else 0.0


@dataclass(frozen=True, slots=True)
class DriveReport:
    """One drive as the pool saw it: a report per worker, None where a worker gave none.

    ``machine`` is what the machine did between start and end, None where nobody watched.
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
    def elapsed_s(self) -> float:
        """First request to last answer over all workers, seconds; 0 when nothing was sent."""
        sent = [report for report in self.present if report.sent]
        if not sent:
            return 0.0
        return (max(r.last_done_ns for r in sent) - min(r.first_sent_ns for r in sent)) / 1e9

    @property
    def cpu_us_per_request(self) -> float:
        """Client CPU (user and system) per sent request over the timed part, microseconds."""
        sent = sum(report.sent for report in self.present)
        cpu_s = sum(report.cpu_user_s + report.cpu_system_s for report in self.present)
        return cpu_s / sent * 1e6 if sent else 0.0

    @property
    def all_in_us_per_request(self) -> float:
        """As ``cpu_us_per_request``, with building and signing beforehand and the last flush counted in."""
        sent = sum(report.sent for report in self.present)
        extra_s = sum(report.build_cpu_s + report.flush_cpu_s for report in self.present)
        return self.cpu_us_per_request + (extra_s / sent * 1e6 if sent else 0.0)


@dataclass(frozen=True, slots=True)
class NullTrial:
    """One trial of the null benchmark.

    Utilisations are CPU time over wall time of one process (1.0: one core); ``stalled`` is the share of the time in
    which a worker did not run though it wanted to; ``cores_busy`` has a share per core, ``steal`` is one of all cores;
    ``throttled_s`` is time that a cgroup quota took away.
    """

    rps: float
    elapsed_s: float
    requests: int
    failures: int
    client_cpu_us_per_request: float
    client_all_in_us_per_request: float
    worker_utilisation: float
    stub_utilisation: float
    stalled: float
    cores_busy: tuple[float, ...]
    steal: float
    throttled_s: float


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the client hardware was shown to be good for, before anything was judged.

    ``reason`` is ``client-bound``, ``stub-bound`` or ``hardware-bound`` below the floor, ``failures`` above it where
    the stub's answers were not all proper, else empty. ``churn_rps`` is the rate when every answer closes its
    connection. ``ruler`` is the latency certificate, None where measured latency was not checked against known latency.
    """

    floor_rps: float
    workers: int
    trials: tuple[NullTrial, ...]
    reason: str = ""
    explanation: str = ""
    churn_rps: float | None = None
    ruler: Ruler | None = None

    @property
    def median(self) -> NullTrial:
        """The trial with the median rate."""
        return sorted(self.trials, key=lambda trial: trial.rps)[len(self.trials) // 2]

    @property
    def rps(self) -> float:
        """Median requests per second."""
        return self.median.rps

    @property
    def headroom(self) -> float:
        """Median rate over the floor."""
        return self.rps / self.floor_rps


@dataclass(frozen=True, slots=True)
class Group:
    """Truth about one drive and one tenant: rows expected as an interval [min, max], rows observed.

    Keys that are not clean are counted by kind; each of them is named in ``TruthReport.unclean``.
    """

    drive: str
    scenario: str
    tenant: str
    canonical_min: int
    canonical_max: int
    canonical: int
    dead_min: int
    dead_max: int
    dead: int
    unclean: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Total:
    """All rows of one tenant in one table, against what the whole run should have left."""

    tenant: str
    row: Row
    expected_min: int
    expected_max: int
    observed: int


class Anomaly(StrEnum):
    """What can be wrong with a key."""

    LOST = "lost"
    DUPLICATED = "duplicated"
    UNEXPECTED = "unexpected"
    MISROUTED = "misrouted"
    WRONG_TENANT = "wrong_tenant"
    WRONG_CHANNEL = "wrong_channel"
    WRONG_CORRELATION = "wrong_correlation"
    RECOVERED = "recovered"
    """Not a fault: an indeterminate request whose row exists."""


@dataclass(frozen=True, slots=True)
class UncleanKey:
    """One key that is not simply acknowledged and present."""

    kind: Anomaly
    drive: str
    scenario: str
    tenant: str
    key: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CanaryHit:
    """Personal data found where none may be. ``place`` is ``schema.table.column`` or ``file:line``."""

    place: str
    in_log: bool
    what: str
    request: str
    json_path: str = ""


@dataclass(frozen=True, slots=True)
class TruthReport:
    """One read of the database after quiescing."""

    groups: tuple[Group, ...]
    totals: tuple[Total, ...]
    unclean: tuple[UncleanKey, ...]
    canary_hits: tuple[CanaryHit, ...]
    columns_scanned: int
    log_files_scanned: tuple[str, ...]
    duplicated_keys: int
    keys_reconciled: int
    read_s: float
    notes: tuple[str, ...] = ()
    log_files_unread: tuple[str, ...] = ()
    keys_unattributed: int = 0
    """Values with a personal key that may be of the run or older: nobody counted them before it."""


# --- what is claimed --------------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """INVALID: the evidence cannot carry the claim. NOT_RUN: it was not tried. Neither is ever PASS."""

    PASS = "PASS"
    FAIL = "FAIL"
    INVALID = "INVALID"
    NOT_RUN = "NOT-RUN"


_DOMINANCE = (Verdict.FAIL, Verdict.INVALID, Verdict.PASS)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Compose verdicts: FAIL dominates INVALID dominates PASS; NOT_RUN only where nothing else was tried."""
    seen = set(verdicts)
    return next((verdict for verdict in _DOMINANCE if verdict in seen), Verdict.NOT_RUN)


@dataclass(frozen=True, slots=True)
class Gate:
    """One claim and what came of it. ``rule`` is the sentence that was tested; ``reason`` why it is not PASS."""

    id: str
    verdict: Verdict
    rule: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
