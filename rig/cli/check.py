"""``rig check``."""

from __future__ import annotations

from pathlib import Path

import click

from rig.cli.options import json_option
from rig.cli.output import print_verdict


@click.command("check")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--digest", help="Require this digest, as the run printed it.")
@json_option
def check(pack: Path, digest: str | None, as_json: bool) -> int:
    """Judge a pack again, offline, and verify that no byte was changed."""
    from rig.verbs.check import recheck

    return print_verdict(recheck(pack, digest), as_json=as_json)
