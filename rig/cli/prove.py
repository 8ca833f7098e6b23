"""The verb that proves the gates: prove."""

from __future__ import annotations

import json

import click

from rig.cli.options import Common, loading
from rig.cli.words import stdout, terminal


@click.command("prove")
@loading
@click.option("--only-defect", "chosen", multiple=True, help="Some defects (with --storms: storms) only (repeatable).")
@click.option("--storms", is_flag=True, help="The storms instead: each protection of their references taken away.")
def prove_(common: Common, chosen: tuple[str, ...], storms: bool) -> int:
    """Every gate against the seeded defects: red where a defect declares it, green where it declares that."""
    from rig.console import ConsoleReporter
    from rig.profile import environment
    from rig.prove import proof_table, prove
    from rig.storm_proof import prove_storms

    profile, folder = common.load_profile()
    with ConsoleReporter(terminal()) as reporter:
        proving = prove_storms if storms else prove
        proof = proving(common.job("prove", profile, folder, ()), chosen, environment(), reporter)
    if common.as_json:
        click.echo(json.dumps(proof.document(), indent=2))
    else:
        stdout().print(proof_table(proof))
    return int(proof.exit_code)
