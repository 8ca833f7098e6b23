"""``rig doctor``."""

from __future__ import annotations

from textwrap import indent

import click

from rig.cli.options import Invocation, takes_settings
from rig.cli.output import stdout
from rig.text import json_text


@click.command("doctor")
@takes_settings("seed", "allow_host", "defects")
def doctor(invocation: Invocation) -> int:
    """Examine a profile and its target, and say what to mend.

    It sends a few single events. A target that was running before keeps the tenants and rows of the examination, as
    after a run.
    """
    from rig.doctor import DoctorStepResult, State, examine

    colours = {State.OK: "green", State.FAIL: "bold red", State.SKIPPED: "dim"}
    console = stdout()

    def print_step(step: DoctorStepResult) -> None:
        if not invocation.as_json:
            console.print(f"{step.state.value:<8}", style=colours[step.state], end="", highlight=False)
            console.print(f"{step.name:<37} {step.said}", markup=False, highlight=False, soft_wrap=True)
            for correction in step.corrections:
                console.print(indent(correction.words, " " * 9), markup=False, highlight=False, soft_wrap=True)

    examined = examine(invocation.choice.path, invocation.settings, invocation.environment(), print_step)
    if invocation.as_json:
        click.echo(json_text(examined.document()))
    else:
        ok, failed, skipped = (examined.counts(state) for state in (State.OK, State.FAIL, State.SKIPPED))
        click.echo(f"{ok} ok, {failed} FAIL, {skipped} skipped; exit {int(examined.exit_code)}")
    return examined.exit_code
