"""What the verbs print once their work is done."""

from __future__ import annotations

import io
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from rig.text import json_text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from rig.cli.options import Invocation
    from rig.run.job import Job
    from rig.run.record import FinishedRun

_UNFOLDED = 20_000
"""Columns of a page that is no terminal."""


def terminal() -> Console:
    """Where progress and messages go: stderr."""
    from rich.console import Console

    return Console(stderr=True)


def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    return Console()


def print_result(*parts: RenderableType) -> None:
    """Print a result on stdout: as wide as the terminal, else a line for each row, neither folded nor padded."""
    from rich.console import Console

    console = stdout()
    if console.is_terminal:
        console.print(*parts, sep="\n")
        return
    with io.StringIO() as text:
        Console(file=text, width=_UNFOLDED).print(*parts, sep="\n")
        # Not click.echo, which writes UTF-8 where the locale has ASCII only.
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))


def run_job(invocation: Invocation, job: Job) -> int:
    """Run a job, print its verdict, and return the exit code."""
    from rig.cli.console import ConsoleReporter
    from rig.run.preconditions import require_possible

    environ = invocation.environment()
    require_possible(job, environ)
    from rig.verbs.run import run  # it takes a second or two

    with ConsoleReporter(terminal()) as reporter:
        finished = run(job, environ, reporter)
    return print_verdict(finished, as_json=invocation.as_json)


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
                finished.diagnosis,
                failing=finished.failing,
                pack=finished.pack,
                digest=finished.digest,
            )
        )
        if finished.judgement.verdict in (Verdict.FAIL, Verdict.INVALID):
            click.echo(f"why       rig show {shlex.quote(str(finished.pack))}")
    if not finished.is_sealed:
        click.echo(f"rig: the pack is not finished; run: rig settle {shlex.quote(str(finished.pack))}", err=True)
    return finished.judgement.exit_code
