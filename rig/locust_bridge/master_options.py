"""The rig's options on locust's command line, and what becomes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from locust.env import Environment
from locust.runners import MasterRunner

from rig.errors import UsageError
from rig.limits import FLOOR_RPS
from rig.settings import DEFAULTS, OPTIONS, TYPES, Settings
from scenarios.mix import PERF_GATE
from scenarios.s8 import LIMIT_S, REQUESTS

LOOPBACK = "127.0.0.1"
"""Locust's own defaults are all interfaces, and the plan for the workers holds the tenants' credentials."""
LOCUST_FLOOR_RPS = 500.0
"""What locust's own users must reach: they cost some eight times a native worker's CPU, and claim less."""
_SETTINGS: dict[str, dict[str, Any]] = {
    "seed": {},
    "out": {},
    "floor_rps": {
        "default": 0.0,
        "help": f"Require this many requests/s in the null benchmark. Default: {FLOOR_RPS:g}; locust alone "
        f"{LOCUST_FLOOR_RPS:g}.",
    },
    "null_seconds": {},
    "allow_host": {},
    "port": {},
    "defects": {},
    "max_requests": {"help": "Send at most this many requests in each test."},
    "max_rate_per_s": {"help": "Send at most this many requests/s, all users together."},
}
"""The settings that locust's command line can change, each with what differs there from ``rig.settings``."""


@dataclass(frozen=True, slots=True)
class Options:
    """``profile`` and ``settings`` go to the coordinator once, ``test`` with every test."""

    profile: str
    settings: Settings
    test: dict[str, Any]
    fixed_requests: int
    fixed_wanted: bool

    @property
    def session(self) -> dict[str, Any]:
        """What the coordinator opens its session with."""
        return {"profile": self.profile, "settings": self.settings.document()}


def add_options(parser: Any) -> None:
    """Add the rig's options to locust's parser, and have it listen on loopback where nothing else is asked for."""
    parser.set_defaults(web_host=LOOPBACK, master_bind_host=LOOPBACK)

    def add(name: str, **settings: Any) -> None:
        parser.add_argument(name, include_in_web_ui=False, **settings)

    add("--rig-profile", default="", help="Read from this TOML file who the target is. Default: the reference service.")
    add("--rig-route", default="", help="Load this route of the profile. Default: its first.")
    for name, changes in _SETTINGS.items():
        option, default = OPTIONS[name], DEFAULTS[name]
        if isinstance(default, tuple):
            add(f"--rig-{option.flag}", action="append", default=[], help=option.help)
        else:
            how = {"default": default, "type": TYPES[name], "help": option.help}
            add(f"--rig-{option.flag}", **(how | changes))
    add("--rig-rate-per-user", type=float, default=0.0, help="Have each user send at this rate. Default: closed loop.")
    add("--rig-s8", type=int, default=0, help=f"Send this many requests in S8PerfGate. {REQUESTS} where it is named.")
    add("--rig-s8-seconds", type=float, default=LIMIT_S, help="Fail S8PerfGate after this time, if it runs alone.")


def options_of(environment: Environment) -> Options:
    """What was asked for; UsageError where that is nothing that can be done."""
    given = environment.parsed_options
    assert given is not None
    if not 0 <= given.rig_rate_per_user < math.inf:
        raise UsageError(
            f"--rig-rate-per-user {given.rig_rate_per_user}: give a rate above 0, or 0 for the closed loop"
        )
    named = PERF_GATE in (given.user_classes or [])
    chosen = {name: getattr(given, f"rig_{OPTIONS[name].flag.replace('-', '_')}") for name in _SETTINGS}
    chosen["floor_rps"] = chosen["floor_rps"] or _default_floor_rps(environment)
    settings = Settings(**chosen | {"defects": tuple(chosen["defects"])}, latency_calibration="none")
    return Options(
        profile=given.rig_profile,
        settings=replace(settings, out=settings.out.absolute()),
        test={
            "route": given.rig_route,
            "rate_per_user_s": given.rig_rate_per_user,
            "fixed_limit_s": given.rig_s8_seconds,
        },
        fixed_requests=given.rig_s8 or REQUESTS,
        fixed_wanted=named or given.rig_s8 > 0,
    )


def _default_floor_rps(environment: Environment) -> float:
    return FLOOR_RPS if isinstance(environment.runner, MasterRunner) else LOCUST_FLOOR_RPS
