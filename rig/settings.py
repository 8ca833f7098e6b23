"""What a run is asked to do, beside its profile: frozen, validated, written into the manifest as it is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rig.errors import UsageError
from rig.limits import FLOOR_RPS, LEAST_S, LEAST_TRIALS, RATE_CEILING_PER_S, REQUESTS_CEILING

LATENCY_FORMS = ("quick", "full", "none")
_NULL_SECONDS_MOST = 600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of a run. ``defects`` are seeded into a launched reference service; ``port`` 0 picks a free one.

    ``latency_calibration`` is the form of the latency certificate, one of ``LATENCY_FORMS``. ``max_requests`` and
    ``max_rate_per_s`` are ceilings on the whole run and on its open loops; the profile may set lower ones.
    """

    seed: int = 1
    out: Path = Path("results")
    workers: int = 1
    floor_rps: float = FLOOR_RPS
    null_trials: int = LEAST_TRIALS
    null_seconds: float = LEAST_S
    latency_calibration: str = "quick"
    port: int = 0
    allow_host: str | None = None
    defects: tuple[str, ...] = ()
    samplers: bool = True
    storms: bool = True
    max_requests: int = REQUESTS_CEILING
    max_rate_per_s: float = RATE_CEILING_PER_S

    def __post_init__(self) -> None:
        if self.seed < 0 or self.seed >= 1 << 63:
            raise UsageError(f"--seed {self.seed}: give a number from 0 to 2^63 - 1")
        if not 1 <= self.workers <= 64:
            raise UsageError(f"--workers {self.workers}: give a number from 1 to 64")
        if self.latency_calibration not in LATENCY_FORMS:
            raise UsageError(f"ruler {self.latency_calibration!r}: give one of {', '.join(LATENCY_FORMS)}")
        if not 0 < self.floor_rps < math.inf:
            raise UsageError(f"--floor {self.floor_rps}: give a rate above 0")
        if not 0 < self.null_seconds <= _NULL_SECONDS_MOST:
            raise UsageError(f"--null-seconds {self.null_seconds}: give a time above 0, up to {_NULL_SECONDS_MOST:g}")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port {self.port}: give a number from 1 to 65535, or 0 for a free one")
        if not 1 <= self.max_requests <= REQUESTS_CEILING:
            raise UsageError(f"--max-requests {self.max_requests}: give a number from 1 to {REQUESTS_CEILING}")
        if not 0 < self.max_rate_per_s <= RATE_CEILING_PER_S:
            raise UsageError(f"--max-rate {self.max_rate_per_s}: give a rate above 0, up to {RATE_CEILING_PER_S:g}")

    def allowed_host(self, named: str | None) -> str | None:
        """The host beside loopback that may be loaded: ``named`` by the profile and repeated on the command line."""
        return named if named == self.allow_host else None

    def require_seedable(self, launched: bool) -> None:
        """UsageError where defects are asked for and there is no launched target to seed them into."""
        if self.defects and not launched:
            raise UsageError("a defect is seeded into a service that the rig launches; this profile launches none")

    def described(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self) | {"out": str(self.out)}
