"""The latency certificate: how exact measured latency is, and up to which rate. Pure values.

A ``LatencyStep`` compares the latency that the engine measured with the delay that a stub really made, request by
request, at one rate. A ``Freeze`` is what the engine measured of a stub that was frozen. ``LatencyCalibration`` has the
highest rate that is covered, and the resolution there. ``rig.calibrate.latency`` makes it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LATENCY_COLUMNS = (
    "step",
    "behaviour",
    "rate_per_s",
    "seq",
    "intended_ns",
    "sent_ns",
    "done_ns",
    "status",
    "delivered_ns",
)
"""One row per request to the stub. ``delivered_ns`` is the delay that the stub says it made, -1 without an answer;
``sent_ns`` is 0 where the request was skipped."""

TOLERANCE_MS = 0.3
TOLERANCE_SHARE = 0.02
"""A measurement is exact within 0.3 ms or 2 % of the real delay, whichever is more."""
COARSEST_MS = 50.0
"""A rate is not covered where the p99 of the error or of the schedule lag is larger. It is a tenth of the limit of a
sustained load."""
FREEZE_SHARE = 0.1
"""The share of its scenario run for which the stub is frozen."""
_FREEZE_SERVICE_P99_MS = 10.0


@dataclass(frozen=True, slots=True)
class LatencyStep:
    """One known latency at one rate. All errors are absolute: |service time - delivered|, request by request.

    ``exact_share`` is the share of requests whose error is within tolerance. ``relative_p50`` is the median of
    error ÷ delivered (0 without a delay); ``lag`` is sent - intended.
    """

    behaviour: str
    rate_per_s: float
    requests: int
    unanswered: int
    skipped: int
    delivered_p50_ms: float
    delivered_p99_ms: float
    measured_p50_ms: float
    measured_p99_ms: float
    error_p50_ms: float
    error_p99_ms: float
    error_max_ms: float
    relative_p50: float
    relative_p99: float
    exact_share: float
    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    client_cpu_us_per_request: float
    worker_utilisation: float

    @property
    def exact(self) -> bool:
        """True when the error is within tolerance at p50 and at p99."""
        return self.exact_share >= 0.99

    @property
    def flaw(self) -> str:
        """Why this rate is not covered; empty where it is."""
        if self.unanswered or self.skipped:
            return f"{self.unanswered} requests had no answer, {self.skipped} were not sent"
        if self.error_p99_ms > max(COARSEST_MS, TOLERANCE_SHARE * self.delivered_p99_ms):
            return f"1 % of the latencies were off by {self.error_p99_ms:.1f} ms or more"
        if self.lag_p99_ms > COARSEST_MS:
            return f"1 % of the requests were sent {self.lag_p99_ms:.1f} ms or more behind schedule"
        return ""

    @property
    def name(self) -> str:
        """The behaviour of the stub and the rate."""
        return f"{self.behaviour} at {self.rate_per_s:,.0f}/s"


@dataclass(frozen=True, slots=True)
class Freeze:
    """What the engine measured of a stub that was frozen for ``froze_s``, a tenth of the scenario run."""

    rate_per_s: float
    froze_s: float
    requests: int
    unanswered: int
    skipped: int
    response_p95_ms: float
    response_max_ms: float
    service_p99_ms: float
    service_max_ms: float

    @property
    def flaw(self) -> str:
        """Why the freeze was measured wrongly; empty where it was not."""
        least_ms = 400 * self.froze_s
        if self.unanswered or self.skipped:
            return f"{self.unanswered} requests had no answer, {self.skipped} were not sent"
        if self.response_p95_ms < least_ms:
            return f"response time hid it: p95 {self.response_p95_ms:.0f} ms, not {least_ms:.0f} or more"
        if self.service_p99_ms >= _FREEZE_SERVICE_P99_MS:
            return f"service time shows it beyond the requests in flight: p99 {self.service_p99_ms:.1f} ms"
        if not 900 * self.froze_s <= self.service_max_ms <= 1500 * self.froze_s:
            return f"the longest service time was {self.service_max_ms:.0f} ms"
        return ""


@dataclass(frozen=True, slots=True)
class LatencyCalibration:
    """The latency certificate. ``full`` is False for the quick form that every run makes."""

    full: bool
    steps: tuple[LatencyStep, ...]
    freeze: Freeze

    @property
    def covered_rate_per_s(self) -> float:
        """The highest rate up to which every step has no flaw; 0 where there is none."""
        uncovered = min((step.rate_per_s for step in self.steps if step.flaw), default=float("inf"))
        return max((step.rate_per_s for step in self.steps if step.rate_per_s < uncovered), default=0.0)

    @property
    def resolution_ms(self) -> float:
        """Response times that differ by less cannot be told apart: the worst p99 error or lag at covered rates."""
        covered = [step for step in self.steps if step.rate_per_s <= self.covered_rate_per_s]
        return max((TOLERANCE_MS, *(max(step.error_p99_ms, step.lag_p99_ms) for step in covered)))

    @property
    def exact(self) -> bool:
        """True when every step was within tolerance at p50 and at p99."""
        return all(step.exact for step in self.steps)

    def document(self) -> dict[str, Any]:
        """What ``rig calibrate --json`` prints of it."""
        conclusions = {
            "covered_rate_per_s": self.covered_rate_per_s,
            "resolution_ms": self.resolution_ms,
            "exact": self.exact,
        }
        steps = [asdict(step) | {"exact": step.exact, "flaw": step.flaw} for step in self.steps]
        return {**conclusions, "steps": steps, "freeze": asdict(self.freeze) | {"flaw": self.freeze.flaw}}
