"""The rig's options on locust's command line, and what becomes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from locust.env import Environment
from locust.runners import MasterRunner

from rig.errors import UsageError
from rig.limits import FLOOR_RPS, RATE_CEILING_PER_S, REQUESTS_CEILING
from scenarios.mix import PERF_GATE
from scenarios.s8 import LIMIT_S, REQUESTS

LOOPBACK = "127.0.0.1"
"""Locust's own defaults are all interfaces, and the plan for the workers holds the tenants' credentials."""
LOCUST_FLOOR_RPS = 500.0
"""What locust's own users must reach: they cost some eight times a native worker's CPU, and claim less."""


@dataclass(frozen=True, slots=True)
class Options:
    """``session`` goes to the backstage process once, ``test`` with every test."""

    session: dict[str, Any]
    test: dict[str, Any]
    fixed_requests: int
    fixed_wanted: bool

    @property
    def floor_rps(self) -> float:
        """What the client must reach in the null benchmark."""
        return float(self.session["floor"])

    @property
    def null_seconds(self) -> float:
        """Length of a trial of the null benchmark."""
        return float(self.session["null_seconds"])


def add_options(parser: Any) -> None:
    """Add the rig's options to locust's parser, and have it listen on loopback where nothing else is asked for."""
    parser.set_defaults(web_host=LOOPBACK, master_bind_host=LOOPBACK)

    def add(name: str, **settings: Any) -> None:
        parser.add_argument(name, include_in_web_ui=False, **settings)

    add("--rig-profile", default="", help="Who the target is (TOML). Default: the reference service, started here.")
    add("--rig-seed", type=int, default=1, help="What keys and bodies derive from.")
    add("--rig-out", default="results", help="Where evidence packs go.")
    add("--rig-route", default="", help="Route of the profile that is loaded. Default: its first.")
    add(
        "--rig-floor",
        type=float,
        default=0.0,
        help="Null benchmark floor, requests/s. Default: 2000; locust alone 500.",
    )
    add("--rig-null-seconds", type=float, default=2.0, help="Length of a null trial; less is weak.")
    add("--rig-allow-host", default="", help="Repeat the profile's target.allow_host to load a host beyond loopback.")
    add("--rig-port", type=int, default=0, help="Port of a target that is started here. Default: a free one.")
    add("--rig-defect", action="append", default=[], help="Seed a defect into the reference service (repeatable).")
    add("--rig-max-requests", type=int, default=REQUESTS_CEILING, help="Send no more in one test; it ends there.")
    add("--rig-max-rate", type=float, default=RATE_CEILING_PER_S, help="Requests/s of all users that have a rate.")
    add("--rig-rate-per-user", type=float, default=0.0, help="Requests/s due of each user. Default: closed loop.")
    add("--rig-s8", type=int, default=0, help=f"Requests of S8PerfGate; 0 without it, {REQUESTS} when it is named.")
    add("--rig-s8-seconds", type=float, default=LIMIT_S, help="Limit of S8PerfGate when it runs alone.")


def options_of(environment: Environment) -> Options:
    """What was asked for; UsageError where that is nothing that can be done."""
    given = environment.parsed_options
    assert given is not None
    if not 0 <= given.rig_rate_per_user < math.inf:
        raise UsageError(
            f"--rig-rate-per-user {given.rig_rate_per_user}: give a rate above 0, or 0 for the closed loop"
        )
    named = PERF_GATE in (given.user_classes or [])
    native = isinstance(environment.runner, MasterRunner)
    return Options(
        session={
            "profile": given.rig_profile,
            "seed": given.rig_seed,
            "out": given.rig_out,
            "floor": given.rig_floor or (FLOOR_RPS if native else LOCUST_FLOOR_RPS),
            "null_seconds": given.rig_null_seconds,
            "allow_host": given.rig_allow_host or None,
            "port": given.rig_port,
            "defects": list(given.rig_defect),
            "max_requests": given.rig_max_requests,
            "max_rate": given.rig_max_rate,
        },
        test={
            "route": given.rig_route,
            "rate_per_user_s": given.rig_rate_per_user,
            "fixed_limit_s": given.rig_s8_seconds,
        },
        fixed_requests=given.rig_s8 or REQUESTS,
        fixed_wanted=named or given.rig_s8 > 0,
    )
