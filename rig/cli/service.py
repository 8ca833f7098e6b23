"""The verbs for a service of your own: init writes its profile, doctor examines it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rig.cli.options import allow_host_option, defect_option, json_option, profile_option, seed_option
from rig.cli.words import stdout
from rig.errors import ExitCode, UsageError
from rig.init.questions import QUESTIONS, Answers, Question, answered


def _with_questions(command: Callable[..., int]) -> Callable[..., int]:
    """One option for each question."""
    for question in reversed(QUESTIONS):
        about = f"{question.prompt}. Default: {question.default or 'empty'}."
        kind = click.Choice(question.choices) if question.choices else click.STRING
        command = click.option(f"--{question.name}", _option(question), type=kind, help=about)(command)
    return command


def _option(question: Question) -> str:
    return question.name.replace("-", "_")


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("rig.toml"))
@click.option("--yes", is_flag=True, help="Ask nothing: take the default of whatever is not given.")
@_with_questions
def init(path: Path, yes: bool, **given: Any) -> int:
    """Ask a few questions about a service and write its profile, with comments (default: rig.toml).

    Every question is an option too; what is given is not asked. Secrets are never asked for, only the names of the
    environment variables that hold them.
    """
    from rig.init.draft import draft, write

    if path.exists():
        raise UsageError(f"{path} exists already; give another path, or move it away")
    if not yes and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask in; give --yes, and the options that differ from their defaults")

    def ask(question: Question, answers: Answers) -> str:
        answer: str | None = given[_option(question)]
        if answer is not None:
            return answer
        return question.default_after(answers) if yes else _prompted(question, answers)

    answers = answered(ask)
    write(draft(answers, path), path)
    click.echo(f"rig: {path} is written; read it through, export the variables that it names, and then", err=True)
    click.echo(f"rig:   rig doctor --profile {path}", err=True)
    return ExitCode.PASS


def _prompted(question: Question, answers: Answers) -> str:
    """Ask until the answer can be one."""
    kind = click.Choice(question.choices) if question.choices else None
    while True:
        answer: str = click.prompt(question.prompt, default=question.default_after(answers), type=kind, err=True)
        try:
            return question.checked(answer, answers)
        except UsageError as error:
            click.echo(f"  {error}", err=True)


@click.command("doctor")
@profile_option
@seed_option
@allow_host_option
@defect_option
@json_option
def doctor(profile: Path | None, seed: int, allow_host: str | None, defects: tuple[str, ...], as_json: bool) -> int:
    """Examine a profile and its target step by step, with a few single events; say what to mend.

    A target that runs already keeps the tenants and rows of the examination, as after a run.
    """
    from rig.doctor import State, Step, examine
    from rig.profile import bundled_profile, environment
    from rig.settings import Settings

    colours = {State.OK: "green", State.FAIL: "bold red", State.SKIPPED: "dim"}
    console = stdout()

    def tell(step: Step) -> None:
        if not as_json:
            console.print(f"{step.state.value:<8}", style=colours[step.state], end="", highlight=False)
            console.print(f"{step.name:<37} {step.said}", markup=False, highlight=False, soft_wrap=True)

    settings = Settings(seed=seed, allow_host=allow_host, defects=defects)
    examined = examine(profile or bundled_profile(), settings, environment(), tell)
    if as_json:
        click.echo(json.dumps(examined.document(), indent=2))
    else:
        ok, failed, skipped = (examined.counts(state) for state in (State.OK, State.FAIL, State.SKIPPED))
        click.echo(f"{ok} ok, {failed} FAIL, {skipped} skipped; exit {int(examined.exit_code)}")
    return examined.exit_code
