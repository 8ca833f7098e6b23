"""``rig settle``."""

from __future__ import annotations

from pathlib import Path

import click

from rig.cli.options import json_option
from rig.cli.output import print_verdict, terminal


@click.command("settle")
@click.argument("pack", type=click.Path(path_type=Path))
@json_option
def settle(pack: Path, as_json: bool) -> int:
    """Finish a pack that a run left open.

    The truth is read where it still exists; then the pack is judged and sealed.
    """
    from rig.cli.console import ConsoleReporter
    from rig.profile import environment
    from rig.verbs.settle import settle

    with ConsoleReporter(terminal()) as reporter:
        finished = settle(pack, environment(), reporter)
    return print_verdict(finished, as_json=as_json)
