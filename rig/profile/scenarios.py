"""``[scenarios]``: how many requests, how fast, in which mix, where nobody says it on the command line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from rig.checks.race_tests.catalog import STORMS
from rig.limits import RATE_CEILING_PER_S, REQUESTS_CEILING, SECONDS_CEILING, USERS_CEILING
from rig.model import Arrivals, ShapeKind
from rig.profile.fields import Count, ScenarioId, Seconds, Section


def _require_different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError("one of them comes twice")
    return values


def _require_storms(names: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [name for name in names if name not in STORMS]:
        raise ValueError(f"{unknown[0]!r} is no storm; known are {', '.join(STORMS)}")
    return names


_different = AfterValidator(_require_different)


class PerfGate(Section):
    """The performance gate S8."""

    requests: Count | None = None
    """Requests of each trial (``-n``). Without it 10,000."""
    limit_s: Seconds | None = None
    """How long they may take (``--max-seconds``). Without it 10."""
    trials: Annotated[int, Field(ge=1, le=20)] | None = None
    """How often it is run (``--trials``). Without it 3 times."""


class Sustained(Section):
    """An open loop at a constant rate. With ``rate_per_s``, ``rig perf`` and ``rig run`` send it after S8."""

    rate_per_s: Annotated[float, Field(gt=0, le=RATE_CEILING_PER_S)] | None = None
    """Requests a second (``rig perf --rate``, which sends nothing else)."""
    seconds: Seconds | None = None
    """For how long (``--seconds``). Without it 10."""
    p95_ms: Annotated[float, Field(gt=0, le=SECONDS_CEILING)] | None = None
    """The limit of the response time (``--p95``). Without it 500."""
    arrivals: Literal[Arrivals.CONSTANT, Arrivals.POISSON] | None = None
    """How requests are spread over time (``--arrivals``): ``constant`` or ``poisson``. Without it ``constant``."""


class Mix(Section):
    """The sustained mix under locust: ``rig mix``, ``rig ui`` and the last step of ``rig ci``."""

    users: Annotated[int, Field(ge=1, le=USERS_CEILING)] | None = None
    """Connections (``--users``). Without it 50."""
    seconds: Annotated[int, Field(ge=1, le=SECONDS_CEILING)] | None = None
    """For how long (``--seconds``). Without it 20."""
    weights: dict[ScenarioId, Annotated[int, Field(ge=0, le=1000)]] = Field(default_factory=dict)
    """Shares of the users by scenario, like ``S2 = 6``. 0 sends none of it; a scenario that is not named keeps its own:
    2 for S1 and S6, 6 for S2, 1 for S3, S4 and S7."""


class Shapes(Section):
    """Which shapes S10 sends: events with unusual values, which must be stored unaltered or refused."""

    off: bool = False
    """Whether none is sent."""
    only: Annotated[tuple[ShapeKind, ...], Field(min_length=1), _different] | None = None
    """The kinds that are sent. Without it all: ``numbers``, ``times``, ``texts``, ``nulls``, ``missing``, ``extra``
    (fields that nobody knows), ``nesting``, ``arrays``, ``large``, ``writing`` (order, spaces, escapes, keys that come
    twice), ``keys`` (pairs of idempotency keys that hardly differ)."""
    skip: Annotated[tuple[ShapeKind, ...], _different] = ()
    """Kinds that are not sent."""
    requests: Annotated[int, Field(ge=20, le=REQUESTS_CEILING)] | None = None
    """Requests to each route, with those that shrink what fails. Without it 300 to the main route, 80 to others."""

    @property
    def kinds(self) -> frozenset[ShapeKind]:
        """The kinds that are sent."""
        return frozenset(() if self.off else self.only or ShapeKind) - frozenset(self.skip)


class Scenarios(Section):
    """What a run sends. The command line overrides each key; the ceilings in ``[target]`` hold for both."""

    steps: Annotated[tuple[Count, ...], Field(min_length=1), _different] | None = None
    """Requests at each step of the ladder (``--steps``). Without it 50, 250 and 1000."""
    only: Annotated[tuple[ScenarioId, ...], Field(min_length=1), _different] | None = None
    """The scenarios to run (``--only``). ``rig ladder`` leaves S8 out, and ``rig perf`` runs S8 in any case."""
    tenants: Annotated[int, Field(ge=1, le=200)] | None = None
    """Tenants that every scenario but S5, S8 and S9 is spread over (``--tenants``). Without it 1."""
    spread: Annotated[int, Field(ge=0, le=200)] | None = None
    """Tenants of the additional step that is spread (``--spread``): 0 for none, else at least 3. Without it 20."""
    s8: PerfGate = PerfGate()
    """The performance gate."""
    sustained: Sustained = Sustained()
    """Load at a constant rate."""
    shapes: Shapes = Shapes()
    """Events of many shapes."""
    mix: Mix = Mix()
    """The mix under locust."""
    storms: Annotated[tuple[str, ...], AfterValidator(_require_storms), _different] | None = None
    """The storms that ``rig ci`` runs. ``rig run`` ends with a short ``unknown-kid`` if it is among them. Without it
    both run ``unknown-kid``."""

    @field_validator("spread")
    @classmethod
    def _enough(cls, value: int | None) -> int | None:
        if value in (1, 2):
            raise ValueError("give 0, or at least 3: fewer would repeat the plain step")
        return value

    def options(self) -> dict[str, Any]:
        """What is given for ladder and S8, by the names of their options."""
        return _given(self, "steps", "tenants", "spread") | {
            f"perf_{name}": value for name, value in _given(self.s8, "requests", "limit_s", "trials").items()
        }

    def options_of_sustained(self) -> dict[str, Any]:
        """What is given for a sustained rate, by the names of its options."""
        return _given(self.sustained, "seconds", "p95_ms", "arrivals")

    def options_of_mix(self) -> dict[str, Any]:
        """What is given for the mix, by the names of its options."""
        return _given(self.mix, "users", "seconds")


def _given(section: Section, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(section, name)) is not None}
