"""The verbs about a pack that is there: check, report, compare, settle."""

from __future__ import annotations

from pathlib import Path

import click

from rig.cli.options import PATH, json_option
from rig.cli.output import print_result, print_verdict, terminal
from rig.errors import ExitCode, RigError
from rig.text import json_text, one_line, some


def introduce_packs(*paths: Path) -> None:
    """Say on stderr which target each pack is about. What cannot be read is left to the verb, which says why."""
    from rig.evidence.pack import Pack

    for path in paths:
        try:
            manifest = Pack.open(path).manifest()
        except RigError:
            continue
        profile = manifest.profile
        url = (profile.get("target") or {}).get("base_url")
        reached = f"at {url}" if url else "launched by the rig"
        target = f"target {profile['name']}, {reached}, profile of the pack" if "name" in profile else "no target"
        click.echo(one_line(f"{target} {path}"), err=True)


@click.command("check")
@click.argument("pack", type=PATH)
@click.option("--digest", help="Require this digest, as the run printed it.")
@json_option
def check(pack: Path, digest: str | None, as_json: bool) -> int:
    """Judge a pack again, offline, and verify that no byte was changed."""
    from rig.verbs.check import recheck

    introduce_packs(pack)
    return print_verdict(recheck(pack, digest), as_json=as_json)


@click.command("report")
@click.argument("pack", type=PATH)
@click.option("--out", type=PATH, required=True, help="Write into this folder, which is not the pack's.")
@json_option
def report(pack: Path, out: Path, as_json: bool) -> int:
    """Make a pack's documents again, in another folder.

    These are report.html, summary.md, junit.xml and the plots.
    """
    from rig.verbs.report import render

    introduce_packs(pack)
    paths = [str(path) for path in render(pack, out)]
    click.echo(json_text({"documents": paths}) if as_json else "\n".join(paths))
    return ExitCode.PASS


@click.command("compare")
@click.argument("first", metavar="PACK", type=PATH)
@click.argument("second", metavar="PACK", type=PATH)
@click.option("--out", type=PATH, help="Write compare.html and compare.md into this folder.")
@click.option(
    "--fail-on",
    type=click.Choice(["worse"]),
    help="End with 1 where a gate fails that did not before, or a figure is worse beyond doubt. End with 3 where a "
    "gate that passed before is INVALID or not there.",
)
@json_option
def compare(first: Path, second: Path, out: Path | None, fail_on: str | None, as_json: bool) -> int:
    """Compare two runs: which gates turned, and which figures differ.

    Exit code 0 when they could be compared, whatever the result, but with --fail-on.
    """
    from rig.report.comparison_documents import console, documents
    from rig.verbs.compare import compare_packs
    from rig.verbs.report import write_documents

    introduce_packs(first, second)
    compared = compare_packs(first, second)
    paths = write_documents(documents(compared), out) if out is not None else ()
    if as_json:
        click.echo(json_text(compared.document()))
    else:
        print_result(console(compared))
    for path in paths:
        click.echo(f"rig: wrote {path}", err=True)
    if fail_on is None or not (compared.is_worse or compared.unproven):
        return ExitCode.PASS
    word = "worse" if compared.is_worse else f"not proven ({some(compared.unproven, 3)})"
    click.echo(f"rig: the second run is {word}: {one_line(compared.sentence)}", err=True)
    return ExitCode.FAIL if compared.is_worse else ExitCode.INVALID


@click.command("settle")
@click.argument("pack", type=PATH)
@json_option
def settle(pack: Path, as_json: bool) -> int:
    """Finish a pack that a run left open.

    The truth is read where it still exists; then the pack is judged and sealed.
    """
    from rig.cli.console import ConsoleReporter
    from rig.profile import environment
    from rig.verbs.settle import settle

    introduce_packs(pack)
    with ConsoleReporter(terminal()) as reporter:
        finished = settle(pack, environment(), reporter)
    return print_verdict(finished, as_json=as_json)
