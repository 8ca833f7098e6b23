"""What a run is asked to do, beside its profile: frozen, validated, written into the manifest as it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rig.calibrate.null import FLOOR_RPS, LEAST_S, TRIALS
from rig.errors import UsageError
from rig.model import Scenario
from rig.profile import Profile

REQUESTS_CEILING = 5_000_000
RATE_CEILING_PER_S = 50_000.0
RULERS = ("quick", "full", "none")


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of a run. ``defects`` are seeded into a launched reference service; ``port`` 0 picks a free one.

    ``ruler`` is the form of the latency certificate, one of ``RULERS``.
    """

    seed: int = 1
    out: Path = Path("results")
    workers: int = 1
    floor_rps: float = FLOOR_RPS
    null_trials: int = TRIALS
    null_seconds: float = LEAST_S
    ruler: str = "quick"
    port: int = 0
    allow_host: str | None = None
    defects: tuple[str, ...] = ()
    samplers: bool = True
    storms: bool = True

    def __post_init__(self) -> None:
        if self.seed < 0 or self.seed >= 1 << 63:
            raise UsageError(f"--seed {self.seed}: give a number from 0 to 2^63 - 1")
        if not 1 <= self.workers <= 64:
            raise UsageError(f"--workers {self.workers}: give a number from 1 to 64")
        if self.ruler not in RULERS:
            raise UsageError(f"ruler {self.ruler!r}: give one of {', '.join(RULERS)}")
        if self.floor_rps <= 0:
            raise UsageError(f"--floor {self.floor_rps}: give a rate above 0")

    def described(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self) | {"out": str(self.out)}


@dataclass(frozen=True, slots=True)
class Job:
    """One run: who asks for what against which target. Without scenarios it is a calibration."""

    verb: str
    argv: tuple[str, ...]
    settings: Settings
    profile: Profile
    profile_dir: Path
    scenarios: tuple[Scenario, ...] = ()

    def __post_init__(self) -> None:
        requests = sum(scenario.count for scenario in self.scenarios)
        if requests > REQUESTS_CEILING:
            raise UsageError(f"{requests:,} requests are more than a run may send ({REQUESTS_CEILING:,}); ask for less")
        for scenario in self.scenarios:
            rate_per_s = scenario.pace.rate_per_s
            if rate_per_s is not None and not 0 < rate_per_s <= RATE_CEILING_PER_S:
                raise UsageError(f"a rate of {rate_per_s:g}/s is not in 0..{RATE_CEILING_PER_S:g}; ask for another")
