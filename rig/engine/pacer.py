"""When each request is due: pure arithmetic on its number, so that the intended time is never lost.

A constant rate puts request ``seq`` at ``seq / rate`` after the start, whatever became of the earlier ones (open loop;
wrk2, vegeta). The closed loop has no intended times: each connection sends when its last request was answered.
"""

from __future__ import annotations

from dataclasses import dataclass

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant rate in requests per second."""

    rate_per_s: float

    def intended_ns(self, seq: int) -> int:
        """When request ``seq`` is due, nanoseconds after the start."""
        return int(seq * NS / self.rate_per_s)
