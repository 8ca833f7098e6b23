"""``rig history``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from rig.cli.options import PATH, json_option
from rig.cli.output import plain_lines, print_result, stdout
from rig.errors import ExitCode
from rig.text import json_text, number, one_line, some


@click.command("history")
@click.argument("folder", type=PATH)
@click.option("--plot", type=PATH, help="Draw the figures over time into this PNG file.")
@json_option
def history(folder: Path, plot: Path | None, as_json: bool) -> int:
    """List the runs in a folder, oldest first: verdicts, figures, failing gates."""
    from rig.verbs.history import FIGURES, plot_history, read_history_of

    runs, unread = read_history_of(folder)
    for why in unread:
        click.echo(f"rig: left out: {one_line(why)}", err=True)
    if plot is not None:
        plot_history(runs, plot)
        click.echo(f"rig: wrote {plot}", err=True)
    if as_json:
        shown = [asdict(run) | {"started_utc": run.started_utc.isoformat()} for run in runs]
        click.echo(json_text({"runs": shown, "left_out": list(unread)}))
        return ExitCode.PASS
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("started (UTC)", "verb", "profile", "verdict", "S8 s", "p95 ms", "client/s", "failing gates"):
        table.add_column(title, no_wrap=True, overflow="fold")
    for run in runs:
        figures = (number(run.figures[name]) if name in run.figures else "" for name in FIGURES)
        words = (f"{run.started_utc:%Y-%m-%d %H:%M}", run.verb, run.profile, run.verdict, *figures, some(run.failed, 3))
        table.add_row(*(Text(one_line(word)) for word in words))
    lines = list(plain_lines(table))
    if not stdout().is_terminal or max(map(cell_len, lines)) <= stdout().width:
        print_result(table)
        return ExitCode.PASS
    # A narrow terminal has the gates below their run: beside it their names would be broken.
    gates = ["failing gates", *(one_line(some(run.failed, 3)) for run in runs)]
    for line, failed in zip(lines, gates, strict=True):
        below = [Padding(Text(failed), (0, 0, 0, 2))] if failed else []
        print_result(Text(line.removesuffix(failed).rstrip()), *below)
    return ExitCode.PASS
