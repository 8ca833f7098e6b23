"""``rig worker``."""

from __future__ import annotations

from pathlib import Path

import click

from rig.cli.options import PATH, allow_host_option, introduce, setting_option
from rig.errors import ExitCode, UsageError
from rig.machine.extras import require


@click.command("worker")
@click.option("--master", required=True, metavar="HOST[:PORT]", help="Connect to the locust master at this address.")
@click.option(
    "--key",
    type=PATH,
    help="Read the master's key from this file. Default: $RIG_WORKER_KEY, then the file of a master on this machine.",
)
@allow_host_option
@click.option(
    "--alone", is_flag=True, help="Load the master's --host even if the master has no plan. Nothing is judged."
)
@click.option("--profile", type=PATH, help="With --alone: use the routes of this profile.")
@click.option("--reference", is_flag=True, help="With --alone: use the routes of the reference service.")
@setting_option("seed", help="With --alone: derive keys and bodies from this number.")
def worker(
    master: str, key: Path | None, allow_host: str | None, alone: bool, profile: Path | None, reference: bool, seed: int
) -> int:
    """Start a native load worker for a locust master.

    The master runs scenarios/locustfile.py.
    """
    for module in ("msgpack", "zmq"):
        require(module, "locust")
    from rig.locust_bridge.keys import WORKER_KEY, key_file, read_key, take_key
    from rig.locust_bridge.wire import parse_address
    from rig.locust_bridge.worker import Alone, serve
    from scenarios.mix import MIX

    made_up = Alone(introduce(profile, reference).load(), seed, MIX) if alone else None
    address, given = parse_address(master), take_key(WORKER_KEY)
    file = key or key_file(address[1])
    if key and not read_key(key):
        raise UsageError(f"--key {key}: there is no key; the master says where its file is")

    def find_key() -> str:
        return read_key(file) if key or not given else given

    serve(address, find_key, allow_host=allow_host, alone=made_up)
    return ExitCode.PASS
