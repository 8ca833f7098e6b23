"""The verbs around locust: worker, ui, mix, and ci, which uses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rig.cli.options import (
    allow_host_option,
    defect_option,
    json_option,
    max_requests_option,
    out_option,
    profile_option,
    seed_option,
)
from rig.cli.words import terminal
from rig.errors import ExitCode
from rig.machine.extras import require


@click.command("worker")
@click.option("--master", required=True, metavar="HOST[:PORT]", help="The locust master.")
@allow_host_option
@click.option("--alone", is_flag=True, help="Load the master's --host also where it has no plan; nothing is judged.")
@click.option("--profile", type=click.Path(path_type=Path), help="With --alone: whose routes to use.")
@click.option("--seed", type=int, default=1, show_default=True, help="With --alone: what keys and bodies derive from.")
def worker_(master: str, allow_host: str | None, alone: bool, profile: Path | None, seed: int) -> int:
    """A native load worker for a locust master that runs scenarios/locustfile.py."""
    for module in ("msgpack", "zmq"):
        require(module, "locust")
    from rig.locust_bridge.wire import parse_address
    from rig.locust_bridge.worker import Alone, serve
    from rig.profile import bundled_profile, load_profile

    made_up = Alone(load_profile(profile or bundled_profile()), seed) if alone else None
    serve(parse_address(master), allow_host=allow_host, alone=made_up)
    return ExitCode.PASS


@click.command("ui")
@profile_option
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Native workers.")
@click.option("--web-port", type=click.IntRange(1, 65535), default=8089, show_default=True, help="Port of the UI.")
@out_option
@seed_option
@allow_host_option
@defect_option
@max_requests_option
@click.option("--null-seconds", type=float, default=1.0, show_default=True, help="Length of a null trial.")
def ui(workers: int, web_port: int, allow_host: str | None, **session: Any) -> int:
    """Locust's web UI on loopback: database, service, master and native workers, until Ctrl-C."""
    from rig.locust_bridge.launch import Crowd, lead, options_of_session
    from rig.target.launch import require_free_port

    require_free_port(web_port)
    arguments = ("-u", "50", "-r", "50", "-t", "20s", *options_of_session(allow_host=allow_host, **session))
    click.echo(f"rig: http://127.0.0.1:{web_port} in a moment; the rig's own page is /rig; Ctrl-C ends it", err=True)
    return lead(Crowd(arguments, workers, web_port, allow_host))


@click.command("mix")
@profile_option
@click.option("--users", type=click.IntRange(1), default=50, show_default=True, help="Users: connections of the mix.")
@click.option("--seconds", type=click.IntRange(1), default=20, show_default=True, help="How long.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Native workers.")
@out_option
@seed_option
@allow_host_option
@defect_option
@max_requests_option
@click.option("--null-seconds", type=float, default=2.0, show_default=True, help="Length of a null trial.")
def mix(users: int, seconds: int, workers: int, allow_host: str | None, **session: Any) -> int:
    """The sustained mix of S1-S4, S6 and S7: a headless locust master and native workers."""
    from rig.locust_bridge.launch import Crowd, lead, options_of_session

    rate = ("-u", str(users), "-r", str(users), "-t", f"{seconds}s", "--only-summary")
    return lead(Crowd((*rate, *options_of_session(allow_host=allow_host, **session)), workers, None, allow_host))


@click.command("ci")
@profile_option
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/ci"), show_default=True)
@seed_option
@click.option("--seconds", type=click.IntRange(1), default=20, show_default=True, help="Length of the sustained mix.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Native workers of the mix.")
@click.option("--quick", is_flag=True, help="One rung, one trial of S8, one case of the storm.")
@json_option
def ci(profile: Path | None, out: Path, seed: int, seconds: int, workers: int, quick: bool, as_json: bool) -> int:
    """For a pipeline: null gate, ladder, perf gate, storm and the sustained mix; one exit code."""
    from rig.cli.console import ConsoleReporter
    from rig.profile import environment
    from rig.verbs import ci as pipeline

    require("locust", "locust")  # of the last step: nobody should hear of it after minutes
    steps = pipeline.steps_of(profile, seed, quick=quick, seconds=seconds, workers=workers)
    with ConsoleReporter(terminal()) as reporter:
        done = pipeline.run_ci(steps, out, environment(), reporter)
    click.echo(json.dumps(pipeline.document_of(done, out), indent=2) if as_json else pipeline.summary_of(done))
    return pipeline.exit_code_of(done)
