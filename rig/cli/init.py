"""``rig init``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rig.cli.options import decorate_with
from rig.errors import ExitCode, UsageError
from rig.init.questions import QUESTIONS, Answers, Question, ask_all


def _parameter(question: Question) -> str:
    return question.name.replace("-", "_")


def _option(question: Question) -> Callable[..., Any]:
    about = f"{question.prompt}. Default: {question.default or 'empty'}."
    kind = click.Choice(question.choices) if question.choices else click.STRING
    return click.option(f"--{question.name}", _parameter(question), type=kind, help=about)


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("rig.toml"))
@click.option("--yes", is_flag=True, help="Ask nothing. Take the default of what is not given.")
@decorate_with(*map(_option, QUESTIONS))
def init(path: Path, yes: bool, **given: Any) -> int:
    """Ask a few questions about a service and write its profile.

    The default path is rig.toml. Every question is an option too; what is given is not asked. Secrets are never asked
    for, only the names of the environment variables that hold them.
    """
    from rig.init.draft import draft, write

    if path.exists():
        raise UsageError(f"{path} exists already; give another path, or move it away")
    if not yes and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask in; give --yes, and the options that differ from their defaults")

    def ask(question: Question, answers: Answers) -> str:
        answer: str | None = given[_parameter(question)]
        if answer is not None:
            return answer
        return question.default_after(answers) if yes else _ask_in_terminal(question, answers)

    answers = ask_all(ask)
    write(draft(answers, path), path)
    click.echo(f"rig: {path} is written; read it through, export the variables that it names, and then", err=True)
    click.echo(f"rig:   rig doctor --profile {path}", err=True)
    return ExitCode.PASS


def _ask_in_terminal(question: Question, answers: Answers) -> str:
    """Ask until the answer is a valid one."""
    kind = click.Choice(question.choices) if question.choices else None
    while True:
        answer: str = click.prompt(question.prompt, default=question.default_after(answers), type=kind, err=True)
        try:
            return question.check(answer, answers)
        except UsageError as error:
            click.echo(f"  {error}", err=True)
