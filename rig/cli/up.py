"""``rig up`` and ``rig down``."""

from __future__ import annotations

from pathlib import Path

import click

from rig.cli.options import Invocation, setting_option, takes_run_settings
from rig.errors import ExitCode
from rig.text import json_text


@click.command("up")
@takes_run_settings()
@click.option("--foreground", is_flag=True, help="Do not return. Ctrl-C stops the target.")
def up(invocation: Invocation, foreground: bool) -> int:
    """Start a profile's target and database for use by hand.

    They keep running until `rig down`.
    """
    from rig.verbs.up import serve, start

    job = invocation.job("up")
    if foreground:
        serve(job, invocation.environment())
        return ExitCode.PASS
    running = start(job, invocation.choice.words())
    click.echo(json_text(running.document()) if invocation.as_json else running.shell_lines(job.settings.out))
    return ExitCode.PASS


@click.command("down")
@setting_option("out", help="Stop the target that was started with this results folder.")
def down(out: Path) -> int:
    """Stop what `rig up` started."""
    from rig.verbs.up import stop

    click.echo(stop(out), err=True)
    return ExitCode.PASS
