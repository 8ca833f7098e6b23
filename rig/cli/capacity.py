"""``rig capacity``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from rig.cli.options import Invocation, fill_in, is_given, positive_option, takes_run_settings
from rig.cli.output import finish_job, print_result, print_verdict
from rig.errors import ExitCode
from rig.limits import RATE_CEILING_PER_S
from rig.machine.extras import require
from rig.text import json_text

if TYPE_CHECKING:
    from rig.checks.capacity import Capacity
    from rig.checks.scalability import ScalabilityLaw
    from rig.evidence.case import Case
    from rig.run.job import Job

_MOST_PROCESSES = 64
_SHOWN = ("rate/s", "p95 ms", "client", "server", "database", "result", "why")
"""The other columns are in the report."""
_SEVERITY = (ExitCode.PASS, ExitCode.INVALID, ExitCode.BELOW_FLOOR, ExitCode.FAIL, ExitCode.INTERRUPTED)
"""Of several searches the last of these is the exit code."""


def _counts(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in value.split(",")) if value is not None else ()
    except ValueError:
        raise click.BadParameter(f"{value!r}: give numbers like 1,2,4") from None
    if len(set(counts)) != len(counts) or not all(1 <= count <= _MOST_PROCESSES for count in counts):
        raise click.BadParameter(f"{value!r}: give different numbers from 1 to {_MOST_PROCESSES}")
    return counts


@click.command("capacity")
@takes_run_settings("certificate")
@positive_option("--p95", "p95_ms", default=500.0, text="A rate is held up to this response time, ms.")
@positive_option("--seconds", default=5.0, text="Send at each rate for this long.")
@positive_option("--minutes", default=3.0, text="Begin no step after this long.")
@positive_option("--first", "first_per_s", default=50.0, most=RATE_CEILING_PER_S, text="Begin at this many requests/s.")
@click.option("--expect-workers", type=click.IntRange(1, 256), help="Send by so many native workers (rig worker).")
@click.option("--master-bind-host", default="127.0.0.1", show_default=True, help="Take workers at this address.")
@click.option(
    "--master-bind-port",
    type=click.IntRange(1, 65535),
    default=5557,
    show_default=True,
    help="Take them at this port.",
)
@click.option("--processes", callback=_counts, help="Search once for each count of serving processes, like 1,2,4.")
def capacity(
    invocation: Invocation,
    p95_ms: float,
    seconds: float,
    minutes: float,
    first_per_s: float,
    expect_workers: int | None,
    master_bind_host: str,
    master_bind_port: int,
    processes: tuple[int, ...],
) -> int:
    """Find the highest rate that the target holds.

    The rate grows until the p95 of the response time misses its limit; then steps close to the knee narrow the answer
    down to an interval. Every row is reconciled. A rate that client or machine could not do is named, and never the
    target's limit.
    """
    from rig.evidence.capacity import CapacityPlan
    from rig.run.capacity import add_capacity
    from rig.run.job import ExpectedWorkers
    from rig.verbs.capacity import with_processes
    from scenarios.capacity import capacity_step
    from scenarios.s8 import warm_up

    profile = invocation.load_profile()
    if 60 * minutes < seconds:
        raise click.UsageError(f"--minutes {minutes:g}: not even one step of {seconds:g} s (--seconds) fits in")
    p95_ms = fill_in({"p95_ms": p95_ms}, profile.scenarios.options_of_sustained())["p95_ms"]
    plan = CapacityPlan(p95_ms, seconds, 60 * minutes, first_per_s)
    job = add_capacity(invocation.job("capacity", profile), plan, warm_up, capacity_step)
    if expect_workers is not None:
        if processes or invocation.settings.certificate or is_given("workers"):
            raise click.UsageError(
                "--expect-workers: leave out --workers, --certificate and --processes. Native workers certify their "
                "own machines, and join for one search"
            )
        for module in ("locust", "msgpack", "zmq"):
            require(module, "locust")
        from rig.locust_bridge.keys import WORKER_KEY, take_key

        key = take_key(WORKER_KEY)
        expected = ExpectedWorkers(expect_workers, master_bind_host, master_bind_port, key)
        job = replace(job, expected_workers=expected)
    elif is_given("master_bind_host") or is_given("master_bind_port"):
        raise click.UsageError("--master-bind-host and --master-bind-port go with --expect-workers")
    return _run(invocation, [with_processes(job, count) for count in processes] or [job], processes)


def _run(invocation: Invocation, jobs: Sequence[Job], processes: Sequence[int]) -> int:
    """Run each search and print its answer, then what more processes would bring; the worst exit code."""
    from rig.checks.capacity import find_capacity
    from rig.checks.scalability import fit_law
    from rig.evidence.pack import Pack

    documents: list[dict[str, Any]] = []
    found: list[Capacity] = []
    for job in jobs:
        finished = finish_job(invocation, job)
        case = Pack.open(finished.pack).load()
        found.append(find_capacity(case))
        documents.append(finished.document() | {"capacity": found[-1].document()})
        if not invocation.as_json:
            print_result(_steps(case))
            print_verdict(finished, as_json=False)
            click.echo(f"capacity  {found[-1].words}")
        if finished.judgement.exit_code == ExitCode.INTERRUPTED:
            break
    known = {count: each.estimate.per_s for count, each in zip(processes, found, strict=False) if each.estimate}
    law = fit_law(known)
    if invocation.as_json:
        whole = {"runs": documents, "law": law and asdict(law)} if processes else documents[0]
        click.echo(json_text(whole))
    elif processes:
        click.echo(_prediction(known, law))
    return max((int(document["exit_code"]) for document in documents), key=_SEVERITY.index)


def _prediction(known: Mapping[int, float], law: ScalabilityLaw | None) -> str:
    """What more processes would bring, in a sentence."""
    seen = ", ".join(f"{count}: {rate:,.0f}/s" for count, rate in known.items())
    if law is None:
        return f"scaling   {seen or 'no count has an answer'}; for a prediction two counts need one"
    more = [2 * max(known), 4 * max(known)]
    then = ", ".join(f"{count}: {law.rate_per_s(count):,.0f}/s" for count in more)
    best = f"; best with {law.best_processes:.0f}" if law.best_processes else ""
    return (
        f"scaling   processes {seen}; by the universal scalability law {then}{best} (contention {law.contention:.1%}, "
        f"coherency {law.coherency:.2%}), where the machine has cores for them"
    )


def _steps(case: Case) -> Any:
    """The table of the steps of a pack."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from rig.report.capacity_table import STEP_COLUMNS, step_rows

    table = Table(title="steps", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown = [number for number, column in enumerate(STEP_COLUMNS) if column in _SHOWN]
    for column in _SHOWN:
        is_text = column in ("result", "why")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=column != "why")
    for row in step_rows(case):
        table.add_row(*(row[number] for number in shown))
    return table
