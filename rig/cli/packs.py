"""The verbs on packs: check, settle."""

from __future__ import annotations

from pathlib import Path

import click

from rig.cli.options import json_option
from rig.cli.words import conclude, terminal


@click.command("check")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--digest", help="The digest that the run printed: the pack must be that very one.")
@json_option
def check(pack: Path, digest: str | None, as_json: bool) -> int:
    """Judge a pack again, offline, and verify that no byte of it was changed."""
    from rig.recheck import recheck

    finished = recheck(pack, digest)
    return conclude(finished, as_json=as_json)


@click.command("settle")
@click.argument("pack", type=click.Path(path_type=Path))
@json_option
def settle_(pack: Path, as_json: bool) -> int:
    """Finish a pack that was left: read the truth where it still exists, judge, write the report."""
    from rig.console import ConsoleReporter
    from rig.profile import environment
    from rig.settle import settle

    with ConsoleReporter(terminal()) as reporter:
        finished = settle(pack, environment(), reporter)
    return conclude(finished, as_json=as_json)
