"""One run as it is asked for: the verb, the settings, the target, the scenarios. A frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rig.errors import UsageError
from rig.model import Scenario
from rig.profile import Profile
from rig.settings import Settings

LOCUST = "locust"
"""The verb of a run that locust leads: its options are locust's, with a prefix of ours."""


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
        self.settings.require_seedable(self.profile.launch is not None)
        self.require_requests(sum(scenario.count for scenario in self.scenarios))
        for scenario in self.scenarios:
            if scenario.pace.rate_per_s is not None:
                self.require_rate(scenario.pace.rate_per_s)

    @property
    def most_requests(self) -> int:
        """How many requests the run may send."""
        return int(self._ceiling("max_requests", "max-requests")[0])

    @property
    def most_rate_per_s(self) -> float:
        """How many requests a second the run's open loops may send."""
        return self._ceiling("max_rate_per_s", "max-rate")[0]

    def require_rate(self, rate_per_s: float) -> None:
        """UsageError, before anything is sent, when an open loop may not send at such a rate."""
        most, whose = self._ceiling("max_rate_per_s", "max-rate")
        if not 0 < rate_per_s <= most:
            raise UsageError(f"a rate of {rate_per_s:g}/s is not in 0..{most:g} ({whose}); ask for another")

    def require_requests(self, count: int) -> None:
        """UsageError, before anything is sent, when so many requests are more than one run may send."""
        most, whose = self._ceiling("max_requests", "max-requests")
        if count > most:
            raise UsageError(f"{count:,} requests are more than a run may send ({most:,.0f}, {whose}); ask for less")

    def _ceiling(self, name: str, option: str) -> tuple[float, str]:
        """The lower one of the command line's and the profile's, and whose it is."""
        of_settings: float = getattr(self.settings, name)
        of_profile: float | None = getattr(self.profile.target, name)
        if of_profile is not None and of_profile < of_settings:
            return of_profile, f"the profile's target.{name}"
        return of_settings, f"--{option}, of locust --rig-{option}" if self.verb == LOCUST else f"--{option}"
