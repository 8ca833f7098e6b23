"""``rig mix`` and ``rig ui``, and the options of all verbs that start locust."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from rig.cli.options import Invocation, count_option, fill_in, takes_settings
from rig.errors import ConfigError
from rig.limits import SECONDS_CEILING, USERS_CEILING

if TYPE_CHECKING:
    from rig.profile import Profile

LOCUST_SETTINGS = ("out", "seed", "allow_host", "defects", "max_requests", "null_seconds", "last_look_s")
workers_option = count_option("--workers", default=1, most=64, text="Start this many native workers.")
USERS, SECONDS = 50, 20
seconds_option = count_option("--seconds", default=SECONDS, most=SECONDS_CEILING, text="Run the mix for this long.")


def _load(profile: Profile, users: int, seconds: int) -> tuple[str, ...]:
    """How much load, and in which mix, in locust's words. ConfigError where the mix has no such scenario."""
    from scenarios.mix import MIX

    weights, known = profile.scenarios.mix.weights, {each.id: each for each in MIX}
    if unknown := sorted(weights.keys() - known.keys()):
        raise ConfigError(
            f"profile key scenarios.mix.weights: {unknown[0]} is not in the mix, which has {', '.join(known)}"
        )
    length = ("-u", str(users), "-r", str(users), "-t", f"{seconds}s")
    if not weights:
        return length
    users_of = {each.name: weights.get(scenario, each.weight) for scenario, each in known.items()}
    sent = {name: weight for name, weight in users_of.items() if weight}
    if not sent:
        raise ConfigError("profile key scenarios.mix.weights: all are 0, so nothing would be sent")
    told = [json.dumps({"user_class_name": name, "weight": weight}) for name, weight in sent.items()]
    return (*sent, "--config-users", *told, *length)


@click.command("mix")
@takes_settings(*LOCUST_SETTINGS, json=False)
@count_option("--users", default=USERS, most=USERS_CEILING, text="Send over this many connections.")
@seconds_option
@workers_option
def mix(invocation: Invocation, users: int, seconds: int, workers: int) -> int:
    """Run the sustained mix of S1-S4, S6 and S7 under locust.

    It starts a headless locust master and native workers.
    """
    from rig.locust_bridge.launch import LocustCommand, lead, options_of_session

    profile = invocation.load_profile()
    length = fill_in({"users": users, "seconds": seconds}, profile.scenarios.options_of_mix())
    arguments = (
        *_load(profile, **length),
        "--only-summary",
        *options_of_session(invocation.choice, invocation.settings),
    )
    return lead(LocustCommand(arguments, workers, None, invocation.settings.allow_host))


@click.command("ui")
@takes_settings(*LOCUST_SETTINGS, json=False, null_seconds=1.0)
@workers_option
@count_option("--web-port", default=8089, most=65535, text="Serve the UI at this port.")
@click.option("--web-name", multiple=True, metavar="NAME", help="Serve the UI under this host name of a proxy, too.")
def ui(invocation: Invocation, workers: int, web_port: int, web_name: tuple[str, ...]) -> int:
    """Start locust's web UI with native workers, until Ctrl-C.

    The address that it prints has the token that opens the UI.
    """
    from rig.locust_bridge.launch import LocustCommand, lead, options_of_session
    from rig.target.launch import require_free_port

    require_free_port(web_port)
    profile = invocation.load_profile()
    length = {"users": USERS, "seconds": SECONDS} | profile.scenarios.options_of_mix()
    names = [word for name in web_name for word in ("--rig-web-name", name)]
    arguments = (*_load(profile, **length), *options_of_session(invocation.choice, invocation.settings), *names)
    click.echo("rig: the web UI comes in a moment; Ctrl-C ends it", err=True)
    return lead(LocustCommand(arguments, workers, web_port, invocation.settings.allow_host))
