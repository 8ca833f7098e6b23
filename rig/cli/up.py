"""The reference target for hand use: up, down."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rig.cli.options import Common, loading, out_option
from rig.errors import ExitCode


@click.command("up")
@loading
@click.option("--foreground", is_flag=True, help="Do not return; stop with Ctrl-C.")
def up(common: Common, foreground: bool) -> int:
    """Start the target of a profile and its database, and keep them running until `rig down`."""
    from rig.profile import environment
    from rig.verbs.up import serve, start

    profile, folder = common.load_profile()
    job = common.job("up", profile, folder, ())
    if foreground:
        serve(job, environment())
        return ExitCode.PASS
    standing = start(job, common.profile)
    click.echo(json.dumps(standing.document(), indent=2) if common.as_json else standing.described())
    return ExitCode.PASS


@click.command("down")
@out_option
def down(out: Path) -> int:
    """Stop what `rig up` started."""
    from rig.verbs.up import stop

    click.echo(stop(out), err=True)
    return ExitCode.PASS
