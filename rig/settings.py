"""The settings of a run beside its profile: the one list of them.

Each field of ``Settings`` declares its name, type, default, help and command-line option. From these fields are made:
the command line (``rig.cli.options``), locust's ``--rig-…`` options (``rig.locust_bridge.master_options``), the command
lines of the rig's own children, and what the manifest of a pack says. A new option is one field here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from rig.errors import UsageError
from rig.limits import FLOOR_RPS, LAST_LOOK_S, LEAST_S, LEAST_TRIALS, RATE_CEILING_PER_S, REQUESTS_CEILING

_NULL_HELP = f"Measure this long in each null trial. Under {LEAST_S:g} s is weak evidence."
_HOST_HELP = "Load this host beyond loopback. The profile's target.allow_host must name it too."
_LAST_LOOK_HELP = "Read the rows again so many seconds after the last answer. 0: once is enough."
_CERTIFICATE_HELP = "Reuse the certificate of this pack, after a spot check of two seconds."
_RESULTS = Path("results")


@dataclass(frozen=True, slots=True)
class Option:
    """How a setting is given on a command line. ``flag`` is without dashes; ``old_flags`` still work.

    ``least`` and ``most`` are the range of a number; where there is no ``least``, it must be above 0. ``switch``: the
    two values that ``--flag`` and ``--no-flag`` stand for.
    """

    flag: str
    help: str
    least: int | None = None
    most: float = math.inf
    choices: tuple[str, ...] = ()
    switch: tuple[Any, Any] | None = None
    old_flags: tuple[str, ...] = ()

    def check(self, value: Any) -> None:
        """UsageError where the value is none that the option takes."""
        if value == "":
            raise UsageError(f"--{self.flag} is empty: give a value. Is a variable not set?")
        if isinstance(value, str) and self.choices and value not in self.choices:
            raise UsageError(f"--{self.flag} {value}: give one of {', '.join(self.choices)}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            is_enough = value > 0 if self.least is None else value >= self.least
            if not is_enough or not value <= self.most or value == math.inf:
                above = "above 0" if self.least is None else f"from {self.least}"
                raise UsageError(f"--{self.flag} {value}: give a number {above}{self._limit}")

    @property
    def _limit(self) -> str:
        return "" if self.most == math.inf else f" to {int(self.most)}"


def _option(default: Any, flag: str, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"option": Option(flag, text, **more)})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is asked to do: frozen, checked, written into the manifest as it is."""

    seed: int = _option(1, "seed", "Derive keys and bodies from this number.", least=0, most=(1 << 63) - 1)
    out: Path = _option(_RESULTS, "out", "Write evidence packs into this folder.")  # noqa: RUF009  # it makes a field
    workers: int = _option(1, "workers", "Send from this many processes.", least=1, most=64)
    floor_rps: float = _option(FLOOR_RPS, "floor", "Require this many requests/s in the null benchmark.")
    null_trials: int = LEAST_TRIALS
    null_seconds: float = _option(LEAST_S, "null-seconds", _NULL_HELP, most=600)
    latency_calibration: str = _option(
        "quick",
        "latency-calibration",
        "Check measured latency against known latency.",
        choices=("quick", "full", "none"),
        switch=("quick", "none"),
        old_flags=("--ruler/--no-ruler",),
    )
    certificate: str | None = _option(None, "certificate", _CERTIFICATE_HELP)
    port: int = _option(0, "port", "Launch the target at this port. 0 picks a free one.", least=0, most=65535)
    allow_host: str | None = _option(None, "allow-host", _HOST_HELP)
    defects: tuple[str, ...] = _option((), "defect", "Seed this defect into the reference service. Repeatable.")
    samplers: bool = _option(True, "samplers", "Sample the database and the processes during the run.")
    storms: bool = _option(True, "storms", "End the run with a short storm of processes.")
    last_look_s: float = _option(LAST_LOOK_S, "last-look", _LAST_LOOK_HELP, least=0, most=3600)
    chaos: bool = _option(True, "chaos", "Break things for some seconds, where the rig starts the target.")
    max_requests: int = _option(
        REQUESTS_CEILING, "max-requests", "Send at most this many requests in this run.", least=1, most=REQUESTS_CEILING
    )
    max_rate_per_s: float = _option(
        RATE_CEILING_PER_S, "max-rate", "Send at most this many requests/s in each open loop.", most=RATE_CEILING_PER_S
    )

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            option.check(getattr(self, name))

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
