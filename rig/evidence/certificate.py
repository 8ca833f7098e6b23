"""What the client can do on this machine: the null benchmark and the latency calibration. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import AwareDatetime

from rig.evidence.latency_calibration import LatencyCalibration, LatencyStep
from rig.evidence.scenario_runs import describe_signing


@dataclass(frozen=True, slots=True)
class NullTrial:
    """One trial of the null benchmark.

    Utilisations are CPU time over wall time of one process (1.0: one core). ``stalled`` is the share of the time in
    which a worker was ready to run and did not. ``cores_busy`` has a share per core, ``steal`` is a share of all cores.
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
    signing_us_per_request: float = 0.0
    """CPU to make and sign one request; a part of the CPU per request where they are not ``signed_ahead``."""
    signed_ahead: bool = True

    @property
    def signing(self) -> str:
        """Which part of the timed CPU the signatures take, in words; empty where it is less than half."""
        if self.signed_ahead:
            return ""
        return describe_signing(self.signing_us_per_request, self.client_cpu_us_per_request)


@dataclass(frozen=True, slots=True)
class Reuse:
    """From which pack a certificate was taken, and how a spot check in this run went.

    ``pack`` and ``digest`` name the pack whose run measured the client, at ``measured_utc``. ``conditions`` are what
    held there (``rig.checks.reuse``). ``trial`` and ``step`` are the spot check: one short trial of the null benchmark
    and one step of the latency calibration, None where it was not made.
    """

    pack: str
    digest: str
    measured_utc: AwareDatetime
    age_h: float
    conditions: Mapping[str, Any]
    trial: NullTrial | None = None
    step: LatencyStep | None = None

    @property
    def words(self) -> str:
        """Whose certificate it is, and how old."""
        return f"that of {self.pack}, {self.age_h:.1f} h old"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the client can do on this machine, measured before anything is judged.

    ``reason`` is ``client-bound``, ``stub-bound`` or ``hardware-bound`` below the floor, ``failures`` where the stub's
    answers were not all correct, else empty. ``churn_rps`` is the rate where every answer closes its connection.
    ``latency_calibration`` is None where measured latency was not checked against known latency. ``route`` is the route
    whose requests were sent. ``reused`` is None where this run measured all that.
    """

    floor_rps: float
    workers: int
    trials: tuple[NullTrial, ...]
    reason: str = ""
    explanation: str = ""
    churn_rps: float | None = None
    latency_calibration: LatencyCalibration | None = None
    route: str = ""
    reused: Reuse | None = None

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
