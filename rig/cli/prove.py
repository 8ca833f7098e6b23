"""The verb that proves the gates: prove."""

from __future__ import annotations

import json

import click

from rig.cli.options import Common, loading
from rig.cli.words import stdout, terminal


@click.command("prove")
@loading
@click.option("--only-defect", "chosen", multiple=True, help="Some defects, storms or cases only (repeatable).")
@click.option("--storms", is_flag=True, help="The storms alone: each protection of their references taken away.")
@click.option("--repetitions", type=click.IntRange(1, 20), show_default="1, with --diagnosis 5", help="So many times.")
@click.option("--diagnosis", is_flag=True, help="The diagnosis instead: seeded bottlenecks, a confusion matrix.")
@click.option("--only", "seeds", multiple=True, help="With --diagnosis: some bottlenecks only (repeatable).")
def prove_(
    common: Common,
    chosen: tuple[str, ...],
    storms: bool,
    repetitions: int | None,
    diagnosis: bool,
    seeds: tuple[str, ...],
) -> int:
    """Every gate against the seeded defects: red where a defect declares it, green where it declares that.

    The defects of the crowd need the extra `locust`: without it the rest is tried, and the whole proof ends in 3.
    """
    if diagnosis and (storms or chosen):
        raise click.UsageError("--diagnosis goes with --only SEED, not with --storms or --only-defect")
    if diagnosis:
        return _prove_diagnosis(common, seeds, repetitions)
    if seeds:
        raise click.UsageError("--only goes with --diagnosis; defects and storms are chosen by --only-defect")
    from rig.cli.console import ConsoleReporter
    from rig.profile import environment
    from rig.selftest.matrix import proof_table
    from rig.verbs.prove import prove

    profile, folder = common.load_profile()
    with ConsoleReporter(terminal()) as reporter:
        job = common.job("prove", profile, folder, ())
        proof = prove(job, chosen, environment(), reporter, storms_only=storms, repetitions=repetitions or 1)
    if common.as_json:
        click.echo(json.dumps(proof.document(), indent=2))
    else:
        stdout().print(proof_table(proof))
    return int(proof.exit_code)


def _prove_diagnosis(common: Common, seeds: tuple[str, ...], repetitions: int | None) -> int:
    from rig.cli.console import ConsoleReporter
    from rig.evidence.confusion import confusion_table
    from rig.profile import environment
    from rig.selftest.diagnosis import REPETITIONS, prove_diagnosis

    profile, folder = common.load_profile()
    with ConsoleReporter(terminal()) as reporter:
        job = common.job("prove", profile, folder, ())
        confusion = prove_diagnosis(job, repetitions or REPETITIONS, seeds, environment(), reporter)
    if common.as_json:
        click.echo(json.dumps(confusion.document(), indent=2))
    else:
        stdout().print(confusion_table(confusion))
        stdout().print(f"evidence  {confusion.pack}", soft_wrap=True)
    return int(confusion.exit_code)
