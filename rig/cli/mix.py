"""``rig mix`` and ``rig ui``, and the options of all verbs that start locust."""

from __future__ import annotations

import click

from rig.cli.options import Invocation, count_option, takes_settings

LOCUST_SETTINGS = ("out", "seed", "allow_host", "defects", "max_requests", "null_seconds")
workers_option = count_option("--workers", default=1, most=64, text="Start this many native workers.")
seconds_option = count_option("--seconds", default=20, text="Run the sustained mix for this long.")


@click.command("mix")
@takes_settings(*LOCUST_SETTINGS, json=False)
@count_option("--users", default=50, text="Send over this many connections.")
@seconds_option
@workers_option
def mix(invocation: Invocation, users: int, seconds: int, workers: int) -> int:
    """Run the sustained mix of S1-S4, S6 and S7 under locust.

    It starts a headless locust master and native workers.
    """
    from rig.locust_bridge.launch import LocustCommand, lead, options_of_session

    rate = ("-u", str(users), "-r", str(users), "-t", f"{seconds}s", "--only-summary")
    arguments = (*rate, *options_of_session(invocation.choice, invocation.settings))
    return lead(LocustCommand(arguments, workers, None, invocation.settings.allow_host))


@click.command("ui")
@takes_settings(*LOCUST_SETTINGS, json=False, null_seconds=1.0)
@workers_option
@count_option("--web-port", default=8089, most=65535, text="Serve the UI at this port.")
def ui(invocation: Invocation, workers: int, web_port: int) -> int:
    """Start locust's web UI with native workers, until Ctrl-C."""
    from rig.locust_bridge.launch import LocustCommand, lead, options_of_session
    from rig.target.launch import require_free_port

    require_free_port(web_port)
    arguments = ("-u", "50", "-r", "50", "-t", "20s", *options_of_session(invocation.choice, invocation.settings))
    click.echo(f"rig: http://127.0.0.1:{web_port} in a moment; the rig's own page is /rig; Ctrl-C ends it", err=True)
    return lead(LocustCommand(arguments, workers, web_port, invocation.settings.allow_host))
