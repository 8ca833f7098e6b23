"""What the verbs print once their work is done."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from rig.text import json_text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from rig.cli.options import Invocation
    from rig.run.job import Job
    from rig.run.record import FinishedRun

_ALIGNED = 32
"""Where there is no terminal, a cell that is wider than this is not lined up with those of other rows."""


def terminal() -> Console:
    """Where progress and messages go: stderr."""
    from rich.console import Console

    return Console(stderr=True)


def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    return Console()


def print_result(*parts: RenderableType) -> None:
    """Print a result on stdout: as wide as the terminal, else by ``plain_lines``."""
    console = stdout()
    if console.is_terminal:
        console.print(*parts, sep="\n")
        return
    # Not click.echo, which writes UTF-8 where the locale has ASCII only.
    sys.stdout.writelines(f"{line}\n" for part in parts for line in plain_lines(part))


def plain_lines(part: RenderableType) -> Iterator[str]:
    """What is printed where there is no terminal: a line for each row, neither folded nor ruled.

    Two spaces part the cells. Short cells of a column stand below one another; a long one makes its own line longer.
    """
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table

    match part:
        case Group():
            for each in part.renderables:
                yield from plain_lines(each)
        case Padding():
            yield from ("",) * part.top
            yield from (f"{' ' * part.left}{line}" for line in plain_lines(part.renderable))
            yield from ("",) * part.bottom
        case Table():
            yield from _table_lines(part)
        case _:
            yield from (line.rstrip() for line in str(part).split("\n"))


def _table_lines(table: Table) -> Iterator[str]:
    from rich.cells import cell_len

    heads = [[str(column.header)] if table.show_header else [] for column in table.columns]
    columns = [
        [*head, *(" ".join(str(cell).split("\n")) for cell in column.cells)]
        for head, column in zip(heads, table.columns, strict=True)
    ]
    widths = [max((width for cell in column if (width := cell_len(cell)) <= _ALIGNED), default=0) for column in columns]
    gap = "  " if table.box else " " * table.padding[1]
    if table.title:
        yield str(table.title)
    for row in zip(*columns, strict=True):
        padded = []
        for cell, width, column in zip(row, widths, table.columns, strict=True):
            space = " " * (width - cell_len(cell))
            padded.append(space + cell if column.justify == "right" else cell + space)
        yield gap.join(padded).rstrip()
    if table.caption:
        yield str(table.caption)


def run_job(invocation: Invocation, job: Job) -> int:
    """Run a job, print its verdict, and return the exit code."""
    return print_verdict(finish_job(invocation, job), as_json=invocation.as_json)


def finish_job(invocation: Invocation, job: Job) -> FinishedRun:
    """Run a job. RigError where it cannot begin."""
    from rig.cli.console import ConsoleReporter
    from rig.run.preconditions import require_possible

    environ = invocation.environment()
    require_possible(job, environ)
    from rig.verbs.run import run  # it takes a second or two

    with ConsoleReporter(terminal()) as reporter:
        return run(job, environ, reporter)


def print_verdict(finished: FinishedRun, *, as_json: bool, document: dict[str, Any] | None = None) -> int:
    """Print a verdict as a table, or as one JSON document (``document``, else the pack's own); the exit code."""
    from rig.evidence.gate import Verdict
    from rig.report.summary import console

    if as_json:
        click.echo(json_text(document or finished.document()))
    else:
        print_result(
            console(
                finished.judgement,
                failing=finished.failing,
                pack=finished.pack,
                digest=finished.digest,
            )
        )
        if finished.judgement.verdict in (Verdict.FAIL, Verdict.INVALID):
            click.echo(f"why        rig show {shlex.quote(str(finished.pack))}")
    if not finished.is_sealed:
        click.echo(f"rig: the pack is not finished; run: rig settle {shlex.quote(str(finished.pack))}", err=True)
    return finished.judgement.exit_code
