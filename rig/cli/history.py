"""``rig history``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from rig.cli.options import json_option
from rig.cli.output import print_result
from rig.errors import ExitCode
from rig.text import json_text, number, one_line, some


@click.command("history")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the figures over time into this PNG file.")
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
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("started (UTC)", "verb", "profile", "verdict", "S8 s", "p95 ms", "client/s", "failing gates"):
        table.add_column(title, no_wrap=title != "failing gates", overflow="fold")
    for run in runs:
        figures = (number(run.figures[name]) if name in run.figures else "" for name in FIGURES)
        words = (f"{run.started_utc:%Y-%m-%d %H:%M}", run.verb, run.profile, run.verdict, *figures, some(run.failed, 3))
        table.add_row(*(Text(one_line(word)) for word in words))
    print_result(table)
    return ExitCode.PASS
