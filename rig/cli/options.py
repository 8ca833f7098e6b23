"""The options that several verbs share: each is declared once."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rig.limits import FLOOR_RPS, LEAST_S, RATE_CEILING_PER_S, REQUESTS_CEILING

if TYPE_CHECKING:
    from rig.model import Scenario
    from rig.profile import Profile
    from rig.run.job import Job


_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

profile_option: _Decorator = click.option(
    "--profile", type=click.Path(path_type=Path), help="Who the target is (TOML). Default: the reference."
)
seed_option: _Decorator = click.option(
    "--seed", type=int, default=1, show_default=True, help="What keys and bodies derive from."
)
out_option: _Decorator = click.option(
    "--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True
)
json_option: _Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
allow_host_option: _Decorator = click.option(
    "--allow-host", help="Repeat the profile's target.allow_host to load a host beyond loopback."
)
max_requests_option: _Decorator = click.option(
    "--max-requests", type=int, default=REQUESTS_CEILING, show_default=True, help="Send no more in this run."
)
defect_option: _Decorator = click.option(
    "--defect", "defects", multiple=True, help="Seed a defect into the reference service (repeatable)."
)


def above_zero(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """For options that are a time or a rate: a number above 0 that is one ("nan" passes every range of click's)."""
    if value is not None and not 0 < value < math.inf:
        raise click.BadParameter(f"{value:g}: give a number above 0")
    return value


@dataclass(frozen=True, slots=True)
class Common:
    """The options that every loading verb takes."""

    profile: Path | None
    seed: int
    out: Path
    as_json: bool
    workers: int
    floor: float
    allow_host: str | None
    port: int
    defects: tuple[str, ...]
    null_seconds: float
    latency_calibration: bool
    samplers: bool
    max_requests: int
    max_rate: float

    def load_profile(self) -> tuple[Profile, Path]:
        """The profile, the bundled reference one by default, and the folder that it lies in."""
        from rig.profile import bundled_profile, load_profile

        path = self.profile or bundled_profile()
        return load_profile(path), path.resolve().parent

    def job(self, verb: str, profile: Profile, folder: Path, scenarios: Sequence[Scenario]) -> Job:
        """The job of a verb."""
        from rig.run.job import Job
        from rig.settings import Settings

        settings = Settings(
            seed=self.seed,
            out=self.out,
            workers=self.workers,
            floor_rps=self.floor,
            port=self.port,
            allow_host=self.allow_host,
            defects=self.defects,
            null_seconds=self.null_seconds,
            latency_calibration="quick" if self.latency_calibration else "none",
            samplers=self.samplers,
            max_requests=self.max_requests,
            max_rate_per_s=self.max_rate,
        )
        return Job(verb, ("rig", *sys.argv[1:]), settings, profile, folder, tuple(scenarios))


def loading(command: Callable[..., int]) -> Callable[..., int]:
    """Add the common options; the command gets them as one ``Common``."""

    @profile_option
    @seed_option
    @out_option
    @json_option
    @click.option("--workers", type=int, default=1, show_default=True, help="Load processes.")
    @click.option("--floor", type=float, default=FLOOR_RPS, show_default=True, help="Null benchmark floor, requests/s.")
    @allow_host_option
    @click.option(
        "--port", type=int, default=0, show_default="a free one", help="Port of a target that the rig launches."
    )
    @defect_option
    @click.option(
        "--null-seconds", type=float, default=LEAST_S, show_default=True, help="Length of a null trial; less is weak."
    )
    @click.option(
        "--latency-calibration/--no-latency-calibration",
        "--ruler/--no-ruler",
        "latency_calibration",
        default=True,
        show_default=True,
        help="Check measured latency against known latency.",
    )
    @click.option(
        "--samplers/--no-samplers", default=True, show_default=True, help="Look at database and processes meanwhile."
    )
    @max_requests_option
    @click.option(
        "--max-rate",
        type=float,
        default=RATE_CEILING_PER_S,
        show_default=True,
        help="No open loop above so many a second.",
    )
    @functools.wraps(command)
    def wrapped(**options: Any) -> int:
        names = Common.__dataclass_fields__
        common = Common(**{name: options.pop(name) for name in names})
        return command(common, **options)

    return wrapped
