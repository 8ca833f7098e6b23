"""The settings of a run beside its profile: the one list of them.

Each field of ``Settings`` declares its name, type, default, help and command-line option. From these fields are made:
the command line (``rig.cli.options``), locust's ``--rig-…`` options (``rig.locust_bridge.master_options``), the command
lines of the rig's own children, and what the manifest of a pack says. A new option is one field here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from rig.errors import UsageError
from rig.limits import FLOOR_RPS, LEAST_S, LEAST_TRIALS, RATE_CEILING_PER_S, REQUESTS_CEILING

LATENCY_FORMS = ("quick", "full", "none")
_NULL_SECONDS_MOST = 600.0
_RESULTS = Path("results")


@dataclass(frozen=True, slots=True)
class Option:
    """How a setting is given on a command line. ``flag`` is without dashes; ``old_flags`` still work.

    ``is_allowed`` accepts a value, ``wanted`` says what to give instead of one that it refuses. ``switch``: the two
    values that ``--flag`` and ``--no-flag`` stand for.
    """

    flag: str
    help: str
    is_allowed: Callable[[Any], bool] = lambda value: True
    wanted: str = ""
    switch: tuple[Any, Any] | None = None
    old_flags: tuple[str, ...] = ()


def _option(default: Any, *how: Any, **more: Any) -> Any:
    return field(default=default, metadata={"option": Option(*how, **more)})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is asked to do: frozen, checked, written into the manifest as it is."""

    seed: int = _option(
        1,
        "seed",
        "Derive keys and bodies from this number.",
        lambda value: 0 <= value < 1 << 63,
        "a number from 0 to 2^63 - 1",
    )
    out: Path = _option(_RESULTS, "out", "Write evidence packs into this folder.")  # noqa: RUF009  # it makes a field
    workers: int = _option(
        1, "workers", "Send from this many processes.", lambda value: 1 <= value <= 64, "a number from 1 to 64"
    )
    floor_rps: float = _option(
        FLOOR_RPS,
        "floor",
        "Require this many requests/s in the null benchmark.",
        lambda value: 0 < value < math.inf,
        "a rate above 0",
    )
    null_trials: int = LEAST_TRIALS
    null_seconds: float = _option(
        LEAST_S,
        "null-seconds",
        f"Measure this long in each null trial. Under {LEAST_S:g} s is weak evidence.",
        lambda value: 0 < value <= _NULL_SECONDS_MOST,
        f"a time above 0, up to {_NULL_SECONDS_MOST:g}",
    )
    latency_calibration: str = _option(
        "quick",
        "latency-calibration",
        "Check measured latency against known latency.",
        LATENCY_FORMS.__contains__,
        f"one of {', '.join(LATENCY_FORMS)}",
        switch=("quick", "none"),
        old_flags=("--ruler/--no-ruler",),
    )
    port: int = _option(
        0,
        "port",
        "Launch the target at this port. 0 picks a free one.",
        lambda value: 0 <= value <= 65535,
        "a number from 1 to 65535, or 0 for a free one",
    )
    allow_host: str | None = _option(
        None, "allow-host", "Load this host beyond loopback. The profile's target.allow_host must name it too."
    )
    defects: tuple[str, ...] = _option((), "defect", "Seed this defect into the reference service. Repeatable.")
    samplers: bool = _option(True, "samplers", "Sample the database and the processes during the run.")
    storms: bool = _option(True, "storms", "End the run with a short storm of processes.")
    max_requests: int = _option(
        REQUESTS_CEILING,
        "max-requests",
        "Send at most this many requests in this run.",
        lambda value: 1 <= value <= REQUESTS_CEILING,
        f"a number from 1 to {REQUESTS_CEILING}",
    )
    max_rate_per_s: float = _option(
        RATE_CEILING_PER_S,
        "max-rate",
        "Send at most this many requests/s in each open loop.",
        lambda value: 0 < value <= RATE_CEILING_PER_S,
        f"a rate above 0, up to {RATE_CEILING_PER_S:g}",
    )

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            value = getattr(self, name)
            if not option.is_allowed(value):
                raise UsageError(f"--{option.flag} {value}: give {option.wanted}")

    def allowed_host(self, named: str | None) -> str | None:
        """The host beside loopback that may be loaded: ``named`` by the profile and repeated on the command line."""
        return named if named == self.allow_host else None

    def require_seedable(self, launched: bool) -> None:
        """UsageError where defects are asked for and there is no launched target to seed them into."""
        if self.defects and not launched:
            raise UsageError("a defect is seeded into a service that the rig launches; this profile launches none")

    def document(self) -> dict[str, Any]:
        """As JSON, for the manifest."""
        return asdict(self) | {"out": str(self.out)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Settings:
        """What ``document`` made."""
        return cls(**{**document, "out": Path(document["out"]), "defects": tuple(document["defects"])})

    def words(self, *names: str, prefix: str = "") -> list[str]:
        """The words that ask for these settings on another command line; ``prefix`` stands before each flag."""
        words: list[str] = []
        for name in names:
            flag, value = f"--{prefix}{OPTIONS[name].flag}", getattr(self, name)
            values = value if isinstance(value, tuple) else () if value is None else (value,)
            words += [word for each in values for word in (flag, str(each))]
        return words


def _fields() -> dict[str, Field[Any]]:
    return {each.name: each for each in fields(Settings) if "option" in each.metadata}


OPTIONS: Mapping[str, Option] = {name: each.metadata["option"] for name, each in _fields().items()}
"""The options, by the names of their settings."""
DEFAULTS: Mapping[str, Any] = {name: each.default for name, each in _fields().items()}
TYPES: Mapping[str, type] = {
    name: kind if isinstance(kind, type) else str for name, kind in get_type_hints(Settings).items() if name in OPTIONS
}
"""Of one value: text for what may be absent or may be given several times."""
