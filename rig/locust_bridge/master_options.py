"""The rig's options on locust's command line, and what becomes of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locust.argument_parser import get_empty_argument_parser
from locust.env import Environment

from rig.errors import UsageError
from rig.machine.child import free_port
from rig.model import Scenario
from rig.profile.discovery import ProfileChoice, find_profile
from rig.settings import DEFAULTS, OPTIONS, TYPES, Settings

LOOPBACK = "127.0.0.1"
"""Locust's own defaults are all interfaces, and the plan for the workers holds the tenants' credentials."""

_SETTINGS: dict[str, dict[str, Any]] = {
    "seed": {},
    "out": {},
    "floor_rps": {},
    "null_seconds": {},
    "certificate": {},
    "last_look_s": {},
    "allow_host": {},
    "port": {},
    "defects": {},
    "max_requests": {"help": "Send at most this many requests in each test."},
    "max_rate_per_s": {"help": "Send at most this many requests/s, all users together."},
}
"""The settings that locust's command line can change, each with what differs there from ``rig.settings``."""


@dataclass(frozen=True, slots=True)
class SharedScenario:
    """A scenario of fixed count whose requests all users of one class share.

    ``make(route, tenant, requests=…, limit_s=…)`` gives it; ``requests`` and ``limit_s`` are what it has by default.
    """

    user_class: str
    make: Callable[..., Scenario]
    requests: int
    limit_s: float


@dataclass(frozen=True, slots=True)
class Options:
    """``profile`` and ``settings`` go to the coordinator once, ``test`` with every test.

    ``fixed`` is the shared scenario where it takes part, still without a route and a tenant. With ``own_worker`` locust
    was started without ``--master``: it gets a native worker of its own.
    """

    profile: ProfileChoice
    settings: Settings
    test: dict[str, Any]
    fixed: Scenario | None
    own_worker: bool
    web_names: tuple[str, ...] = ()

    @property
    def session(self) -> dict[str, Any]:
        """What the coordinator opens its session with."""
        return {
            "profile": str(self.profile.path),
            "origin": self.profile.origin.value,
            "settings": self.settings.document(),
        }


def add_options(parser: Any, shared: SharedScenario | None) -> None:
    """Add the rig's options to locust's parser, and have it listen on loopback where nothing else is asked for.

    Locust alone becomes a master with a native worker of its own.
    """
    own_worker = not started_as()
    parser.set_defaults(web_host=LOOPBACK, master_bind_host=LOOPBACK, rig_own_worker=own_worker)
    if own_worker:
        parser.set_defaults(master=True, master_bind_port=free_port())

    def add(name: str, **settings: Any) -> None:
        parser.add_argument(name, include_in_web_ui=False, **settings)

    add(
        "--rig-profile",
        default="",
        help="Read from this TOML file who the target is. Default: rig.toml, then $RIG_PROFILE.",
    )
    add("--rig-reference", action="store_true", default=False, help="Judge the built-in reference service.")
    add("--rig-route", default="", help="Load this route of the profile. Default: its first.")
    for name, changes in _SETTINGS.items():
        option, default = OPTIONS[name], DEFAULTS[name]
        if isinstance(default, tuple):
            add(f"--rig-{option.flag}", action="append", default=[], help=option.help)
        else:
            # Locust sends all options to its workers, and its protocol has no paths.
            kind = str if TYPES[name] is Path else TYPES[name]
            how = {"default": default if default is None else kind(default), "type": kind, "help": option.help}
            add(f"--rig-{option.flag}", **(how | changes))
    add("--rig-web-name", action="append", default=[], help="Serve the web UI under this host name of a proxy, too.")
    add("--rig-rate-per-user", type=float, default=0.0, help="Have each user send at this rate. Default: closed loop.")
    if shared is not None:
        name, count = shared.user_class, shared.requests
        add("--rig-s8", type=int, default=0, help=f"Send this many requests in {name}. {count} where it is named.")
        add(
            "--rig-s8-seconds",
            type=float,
            default=shared.limit_s,
            help=f"Fail {name} after this time, when alone.",
        )


def started_as() -> str:
    """``master``, ``worker``, or empty where locust is alone: by command line, environment and configuration."""
    parser = get_empty_argument_parser(add_help=False)
    for mode in ("master", "worker"):
        parser.add_argument(f"--{mode}", action="store_true", env_var=f"LOCUST_MODE_{mode.upper()}")
    parser.add_argument("--processes", env_var="LOCUST_PROCESSES")
    given, _ = parser.parse_known_args()
    return "worker" if given.worker else "master" if given.master or given.processes else ""


def options_of(environment: Environment, shared: SharedScenario | None) -> Options:
    """What was asked for; UsageError for a value that is out of range."""
    given = environment.parsed_options
    assert given is not None
    if not 0 <= given.rig_rate_per_user < math.inf:
        raise UsageError(
            f"--rig-rate-per-user {given.rig_rate_per_user}: give a rate above 0, or 0 for the closed loop"
        )
    fixed = None
    if shared is not None and (given.rig_s8 > 0 or shared.user_class in (given.user_classes or [])):
        fixed = shared.make("", "", requests=given.rig_s8 or shared.requests, limit_s=given.rig_s8_seconds)
    named = Path(given.rig_profile) if given.rig_profile else None
    chosen = {name: getattr(given, f"rig_{OPTIONS[name].flag.replace('-', '_')}") for name in _SETTINGS}
    chosen |= {"out": Path(chosen["out"]).absolute(), "defects": tuple(chosen["defects"])}
    if chosen["certificate"] is not None:
        chosen["certificate"] = str(Path(chosen["certificate"]).absolute())
    return Options(
        profile=find_profile(named, reference=given.rig_reference, environ=os.environ),
        settings=Settings(**chosen, latency_calibration="none"),
        test={"route": given.rig_route, "rate_per_user_s": given.rig_rate_per_user},
        fixed=fixed,
        own_worker=given.rig_own_worker,
        web_names=tuple(given.rig_web_name),
    )
