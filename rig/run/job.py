"""What a run is asked to do: verb, settings, profile, scenarios. A frozen value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rig.chaos.schedule import ChaosPlan
from rig.errors import UsageError
from rig.evidence.capacity import CapacityPlan
from rig.evidence.storm import UNKNOWN_KID
from rig.model import Scenario
from rig.profile import Profile
from rig.settings import Settings

LOCUST = "locust"
"""The verb of a run that locust leads. Its options are locust's ``--rig-…``."""


@dataclass(frozen=True, slots=True)
class CapacitySearch:
    """A search for the capacity: its plan, and what makes the scenario of a step of its number, rate and seconds."""

    plan: CapacityPlan
    step: Callable[[int, float, float], Scenario]


@dataclass(frozen=True, slots=True)
class ExpectedWorkers:
    """Native workers that send in place of the rig's own: how many, and where their locust master listens.

    ``key``: the secret that they know; empty where one is to be made and kept in a file for them.
    """

    count: int
    host: str
    port: int
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Job:
    """One run. Without scenarios it is a calibration."""

    verb: str
    argv: tuple[str, ...]
    settings: Settings
    profile: Profile
    profile_dir: Path
    scenarios: tuple[Scenario, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Scenarios that the target cannot be sent, each with the reason."""
    is_documented: bool = False
    """Whether its rows are counted in the documents: then nothing is sent besides."""
    chaos: ChaosPlan | None = None
    """What is broken during S11, which then is the last of the scenarios."""

    capacity: CapacitySearch | None = None
    """What is looked for after the scenarios: the highest rate that the target holds."""
    expected_workers: ExpectedWorkers | None = None
    """Who sends; None for ``settings.workers`` processes of this machine."""

    def __post_init__(self) -> None:
        self.settings.require_seedable(self.profile.launch is not None)
        self.require_requests(sum(scenario.count for scenario in self.scenarios))
        for scenario in self.scenarios:
            if scenario.pace.rate_per_s is not None:
                self.require_rate(scenario.pace.rate_per_s)

    @property
    def wants_storms(self) -> bool:
        """Whether a whole run ends with its short storm: neither command line nor profile leaves it out."""
        named = self.profile.scenarios.storms
        return self.settings.storms and (named is None or UNKNOWN_KID in named)

    @property
    def most_requests(self) -> int:
        """How many requests the run may send."""
        return int(self._ceiling("max_requests", "max-requests")[0])

    @property
    def most_rate_per_s(self) -> float:
        """How many requests a second each open loop of the run may send."""
        return self._ceiling("max_rate_per_s", "max-rate")[0]

    def require_rate(self, rate_per_s: float) -> None:
        """UsageError when an open loop may not send at such a rate. Nothing was sent yet."""
        most, whose = self._ceiling("max_rate_per_s", "max-rate")
        if not 0 < rate_per_s <= most:
            raise UsageError(f"a rate of {rate_per_s:g}/s is not in 0..{most:g} ({whose}); ask for another")

    def require_requests(self, count: int) -> None:
        """UsageError when one run may not send so many requests. Nothing was sent yet."""
        most, whose = self._ceiling("max_requests", "max-requests")
        if count > most:
            raise UsageError(f"{count:,} requests are more than a run may send ({most:,.0f}, {whose}); ask for less")

    def _ceiling(self, name: str, option: str) -> tuple[float, str]:
        """The lower one of the command line's and the profile's ceiling, and where it stands."""
        of_settings: float = getattr(self.settings, name)
        of_profile: float | None = getattr(self.profile.target, name)
        if of_profile is not None and of_profile < of_settings:
            return of_profile, f"the profile's target.{name}"
        return of_settings, f"--{option}, of locust --rig-{option}" if self.verb == LOCUST else f"--{option}"
