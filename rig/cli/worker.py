"""``rig worker``."""

from __future__ import annotations

from pathlib import Path

import click

from rig.cli.options import allow_host_option, introduce, setting_option
from rig.errors import ExitCode
from rig.machine.extras import require


@click.command("worker")
@click.option("--master", required=True, metavar="HOST[:PORT]", help="Connect to the locust master at this address.")
@allow_host_option
@click.option(
    "--alone", is_flag=True, help="Load the master's --host even if the master has no plan. Nothing is judged."
)
@click.option("--profile", type=click.Path(path_type=Path), help="With --alone: use the routes of this profile.")
@click.option("--reference", is_flag=True, help="With --alone: use the routes of the reference service.")
@setting_option("seed", help="With --alone: derive keys and bodies from this number.")
def worker(master: str, allow_host: str | None, alone: bool, profile: Path | None, reference: bool, seed: int) -> int:
    """Start a native load worker for a locust master.

    The master runs scenarios/locustfile.py.
    """
    for module in ("msgpack", "zmq"):
        require(module, "locust")
    from rig.locust_bridge.wire import parse_address
    from rig.locust_bridge.worker import Alone, serve
    from scenarios.mix import MIX

    made_up = Alone(introduce(profile, reference).load(), seed, MIX) if alone else None
    serve(parse_address(master), allow_host=allow_host, alone=made_up)
    return ExitCode.PASS
