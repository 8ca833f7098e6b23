"""The verbs on packs: check, settle, compare, report."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rig.cli.options import json_option
from rig.cli.words import conclude, stdout, terminal
from rig.errors import ExitCode


@click.command("check")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--digest", help="The digest that the run printed: the pack must be that very one.")
@json_option
def check(pack: Path, digest: str | None, as_json: bool) -> int:
    """Judge a pack again, offline, and verify that no byte of it was changed."""
    from rig.verbs.check import recheck

    finished = recheck(pack, digest)
    return conclude(finished, as_json=as_json)


@click.command("settle")
@click.argument("pack", type=click.Path(path_type=Path))
@json_option
def settle_(pack: Path, as_json: bool) -> int:
    """Finish a pack that was left: read the truth where it still exists, judge, write the report."""
    from rig.cli.console import ConsoleReporter
    from rig.profile import environment
    from rig.verbs.settle import settle

    with ConsoleReporter(terminal()) as reporter:
        finished = settle(pack, environment(), reporter)
    return conclude(finished, as_json=as_json)


@click.command("compare")
@click.argument("first", metavar="PACK", type=click.Path(path_type=Path))
@click.argument("second", metavar="PACK", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Write compare.html and compare.md into this folder.")
@json_option
def compare_(first: Path, second: Path, out: Path | None, as_json: bool) -> int:
    """Lay two runs side by side: which gates turned, which figures differ, and which only seem to.

    Exit 0 when they could be compared, whatever came of it: a difference is no verdict.
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


@click.command("report")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the documents; never the pack itself."
)
@json_option
def report(pack: Path, out: Path, as_json: bool) -> int:
    """Make a pack's documents again, elsewhere: report.html, summary.md, junit.xml, plots."""
    from rig.verbs.report import render

    paths = render(pack, out)
    if as_json:
        click.echo(json.dumps({"documents": [str(path) for path in paths]}, indent=2))
    else:
        for path in paths:
            click.echo(str(path))
    return ExitCode.PASS
