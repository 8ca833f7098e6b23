"""``rig compare``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rig.cli.options import json_option
from rig.cli.output import stdout
from rig.errors import ExitCode


@click.command("compare")
@click.argument("first", metavar="PACK", type=click.Path(path_type=Path))
@click.argument("second", metavar="PACK", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Write compare.html and compare.md into this folder.")
@json_option
def compare(first: Path, second: Path, out: Path | None, as_json: bool) -> int:
    """Compare two runs: which gates turned, and which figures differ.

    Exit code 0 when they could be compared, whatever the result: a difference is no verdict.
    """
    from rig.report.comparison_documents import console, documents
    from rig.verbs.compare import compare_packs
    from rig.verbs.report import write_documents

    compared = compare_packs(first, second)
    paths = write_documents(documents(compared), out) if out is not None else ()
    if as_json:
        click.echo(json.dumps(compared.document(), indent=2))
    else:
        stdout().print(console(compared))
    for path in paths:
        click.echo(f"rig: wrote {path}", err=True)
    return ExitCode.PASS
