"""``rig report``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rig.cli.options import json_option
from rig.errors import ExitCode


@click.command("report")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Write into this folder, which is not the pack's."
)
@json_option
def report(pack: Path, out: Path, as_json: bool) -> int:
    """Make a pack's documents again, in another folder.

    These are report.html, summary.md, junit.xml and the plots.
    """
    from rig.verbs.report import render

    paths = [str(path) for path in render(pack, out)]
    click.echo(json.dumps({"documents": paths}, indent=2) if as_json else "\n".join(paths))
    return ExitCode.PASS
