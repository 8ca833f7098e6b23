"""``rig sample``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig.cli.options import json_option, out_option, positive_option
from rig.cli.output import print_result, print_verdict
from rig.errors import UsageError


@click.command("sample")
@click.option("--dsn-env", required=True, help="Read the DSN from the environment variable of this name.")
@click.option("--match", help="Take processes whose command line matches this regular expression as the server's.")
@click.option(
    "--pid", "pids", type=click.IntRange(1), multiple=True, help="Take this process as the server's too. Repeatable."
)
@positive_option("--seconds", least=0.5, text="Sample for this long. Default: until Ctrl-C.")
@positive_option("--hz", default=20.0, least=0.1, most=1000, text="Look at the database this many times a second.")
@out_option
@json_option
def sample(
    dsn_env: str,
    match: str | None,
    pids: tuple[int, ...],
    seconds: float | None,
    hz: float,
    out: Path,
    as_json: bool,
) -> int:
    """Sample a database and processes, beside any other load tool.

    The samplers see what the database's sessions wait for and how much CPU each process uses.
    """
    from rig.profile import environment
    from rig.profile.fields import require_regex
    from rig.verbs.sample import SamplingOptions, sample, tables

    if match is not None:
        try:
            require_regex(match)
        except ValueError as error:
            raise UsageError(f"--match: {error}") from None
    options = SamplingOptions(dsn_env, match, pids, seconds, hz, out)
    until = "Ctrl-C ends it" if seconds is None else f"for {seconds:g} s"
    sampled = sample(
        options, ("rig", *sys.argv[1:]), environment(), lambda: click.echo(f"rig: sampling, {until}", err=True)
    )
    if not as_json:
        print_result(tables(sampled.case))
    return print_verdict(sampled.finished, as_json=as_json)
