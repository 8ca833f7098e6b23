"""``rig show``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from rig.cli.options import PATH, json_option
from rig.errors import ExitCode
from rig.text import json_text, one_line

_LABEL = 10


@click.command("show")
@click.argument("pack", type=PATH)
@click.argument("what", metavar="[GATE|KEY]", required=False)
@json_option
def show(pack: Path, what: str | None, as_json: bool) -> int:
    """Show why a gate failed: the requests, their answers, their rows, their log lines.

    Without GATE or KEY every failing gate is shown. KEY is an idempotency key or a correlation id.
    """
    from rig.report.shown import GateShown, gate_lines, request_lines
    from rig.verbs.show import show

    found = show(pack, what)
    if as_json:
        shown = [asdict(page) for page in found.pages]
        click.echo(json_text({"shown": shown, "on_purpose": found.on_purpose}))
        return ExitCode.PASS
    if not found.pages:
        click.echo("no gate failed")
    if found.on_purpose:
        click.echo(f"on purpose: {one_line(found.on_purpose)}\n")
    for page in found.pages:
        lines = gate_lines(page) if isinstance(page, GateShown) else request_lines(page)
        for label, text in lines:
            click.echo(f"{label:<{_LABEL}}{one_line(text)}".rstrip())
        click.echo()
    return ExitCode.PASS
