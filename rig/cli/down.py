"""``rig down``."""

from __future__ import annotations

from pathlib import Path

import click

from rig.cli.options import setting_option
from rig.errors import ExitCode


@click.command("down")
@setting_option("out", help="Stop the target that was started with this results folder.")
def down(out: Path) -> int:
    """Stop what `rig up` started."""
    from rig.verbs.up import stop

    click.echo(stop(out), err=True)
    return ExitCode.PASS
