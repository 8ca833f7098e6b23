"""``rig ui``."""

from __future__ import annotations

import click

from rig.cli.mix import LOCUST_SETTINGS, workers_option
from rig.cli.options import Invocation, count_option, takes_settings


@click.command("ui")
@takes_settings(*LOCUST_SETTINGS, json=False, null_seconds=1.0)
@workers_option
@count_option("--web-port", default=8089, most=65535, text="Serve the UI at this port.")
def ui(invocation: Invocation, workers: int, web_port: int) -> int:
    """Start locust's web UI with native workers, until Ctrl-C."""
    from rig.locust_bridge.launch import LocustCommand, lead, options_of_session
    from rig.target.launch import require_free_port

    require_free_port(web_port)
    arguments = ("-u", "50", "-r", "50", "-t", "20s", *options_of_session(invocation.profile, invocation.settings))
    click.echo(f"rig: http://127.0.0.1:{web_port} in a moment; the rig's own page is /rig; Ctrl-C ends it", err=True)
    return lead(LocustCommand(arguments, workers, web_port, invocation.settings.allow_host))
