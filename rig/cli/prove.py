"""The verb that proves the gates: prove."""

from __future__ import annotations

import click

from rig.cli.options import Invocation, takes_run_settings
from rig.cli.output import print_result, terminal
from rig.text import json_text, one_line


@click.command("prove")
@takes_run_settings()
@click.option("--only-defect", "chosen", multiple=True, help="Try this defect or storm only. Repeatable.")
@click.option("--storms", is_flag=True, help="Try the storms only, none of the defects.")
@click.option("--truth", is_flag=True, help="Try the further defects about truth and forged requests instead.")
@click.option("--chaos", is_flag=True, help="Try the defects that show when something breaks instead.")
@click.option("--capacity", is_flag=True, help="Try the defects of a search for the capacity instead.")
@click.option("--repetitions", type=click.IntRange(1, 20), help="Run everything this often.")
@click.option("--diagnosis", is_flag=True, help="Prove the diagnosis instead of the gates.")
@click.option("--only", "seeds", multiple=True, help="Seed this bottleneck only. Repeatable.")
def prove_(
    invocation: Invocation,
    chosen: tuple[str, ...],
    storms: bool,
    truth: bool,
    chaos: bool,
    capacity: bool,
    repetitions: int | None,
    diagnosis: bool,
    seeds: tuple[str, ...],
) -> int:
    """Inject defects one by one and test that the gates turn red.

    Each defect must turn its own gates red and leave all others green. --diagnosis seeds bottlenecks instead, five
    times each unless --repetitions says otherwise.

    Some defects need the extra `locust`. Without it the others are tried, and the whole proof is INVALID (exit code 3).
    """
    if diagnosis and (storms or truth or chaos or capacity or chosen):
        raise click.UsageError("--diagnosis goes with --only SEED, not with other defects or storms")
    parts = {"truth": truth, "chaos": chaos, "capacity": capacity}
    if storms + sum(parts.values()) > 1:
        raise click.UsageError("give one of --storms, --truth, --chaos and --capacity")
    if diagnosis:
        return _prove_diagnosis(invocation, seeds, repetitions)
    if seeds:
        raise click.UsageError("--only goes with --diagnosis; defects and storms are chosen by --only-defect")
    from rig.cli.console import ConsoleReporter
    from rig.selftest.matrix import proof_table
    from rig.verbs.prove import prove

    with ConsoleReporter(terminal()) as reporter:
        job = invocation.job("prove")
        environ = invocation.environment()
        part = next((name for name, is_given in parts.items() if is_given), "")
        proof = prove(job, chosen, environ, reporter, storms_only=storms, part=part, repetitions=repetitions or 1)
    if invocation.as_json:
        click.echo(json_text(proof.document()))
    else:
        print_result(proof_table(proof))
    return int(proof.exit_code)


def _prove_diagnosis(invocation: Invocation, seeds: tuple[str, ...], repetitions: int | None) -> int:
    from rig.cli.console import ConsoleReporter
    from rig.report.confusion import confusion_table
    from rig.selftest.diagnosis import REPETITIONS, prove_diagnosis

    with ConsoleReporter(terminal()) as reporter:
        job = invocation.job("prove")
        confusion = prove_diagnosis(job, repetitions or REPETITIONS, seeds, invocation.environment(), reporter)
    if invocation.as_json:
        click.echo(json_text(confusion.document()))
    else:
        print_result(confusion_table(confusion))
        click.echo(f"evidence   {one_line(confusion.pack)}")
    return int(confusion.exit_code)
