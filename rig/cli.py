"""The command line: verbs only. Machine output goes to stdout, progress and messages to stderr.

Every verb builds a job, hands it on and turns what comes back into words and an exit code (``rig.errors.ExitCode``).
The heavy modules are imported by the verbs that need them, so that ``rig --help`` answers at once.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from rig import __version__
from rig.errors import ExitCode, RigError, UsageError
from rig.stampede.model import PROTECTIONS, STORMS

if TYPE_CHECKING:
    from rig.model import Scenario
    from rig.profile import Profile
    from rig.record import Finished
    from rig.settings import Job


@dataclass(frozen=True, slots=True)
class Common:
    """The options that every loading verb takes."""

    profile: Path | None
    seed: int
    out: Path
    json: bool
    workers: int
    floor: float
    allow_host: str | None
    port: int
    defects: tuple[str, ...]
    null_seconds: float
    ruler: bool
    samplers: bool

    def load_profile(self) -> tuple[Profile, Path]:
        """The profile, the bundled reference one by default, and the folder that it lies in."""
        from rig.profile import bundled_profile, load_profile

        path = self.profile or bundled_profile()
        return load_profile(path), path.resolve().parent

    def job(self, verb: str, profile: Profile, folder: Path, scenarios: Sequence[Scenario]) -> Job:
        """The job of a verb."""
        from rig.settings import Job, Settings

        settings = Settings(
            seed=self.seed,
            out=self.out,
            workers=self.workers,
            floor_rps=self.floor,
            port=self.port,
            allow_host=self.allow_host,
            defects=self.defects,
            null_seconds=self.null_seconds,
            ruler="quick" if self.ruler else "none",
            samplers=self.samplers,
        )
        return Job(verb, ("rig", *sys.argv[1:]), settings, profile, folder, tuple(scenarios))


def _loading(command: Callable[..., int]) -> Callable[..., int]:
    """Add the common options; the command gets them as one ``Common``."""

    @click.option(
        "--profile", type=click.Path(path_type=Path), help="Who the target is (TOML). Default: the reference."
    )
    @click.option("--seed", type=int, default=1, show_default=True, help="What keys and bodies derive from.")
    @click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
    @click.option("--json", is_flag=True, help="Print one JSON document on stdout.")
    @click.option("--workers", type=int, default=1, show_default=True, help="Load processes.")
    @click.option("--floor", type=float, default=2000.0, show_default=True, help="Null benchmark floor, requests/s.")
    @click.option("--allow-host", help="Repeat the profile's target.allow_host to load a host beyond loopback.")
    @click.option(
        "--port", type=int, default=0, show_default="a free one", help="Port of a target that the rig launches."
    )
    @click.option("--defect", "defects", multiple=True, help="Seed a defect into the reference service (repeatable).")
    @click.option(
        "--null-seconds", type=float, default=2.0, show_default=True, help="Length of a null trial; less is weak."
    )
    @click.option("--ruler/--no-ruler", default=True, show_default=True, help="Certify latency against known latency.")
    @click.option(
        "--samplers/--no-samplers", default=True, show_default=True, help="Look at database and processes meanwhile."
    )
    @functools.wraps(command)
    def wrapped(**options: Any) -> int:
        names = Common.__dataclass_fields__
        common = Common(**{name: options.pop(name) for name in names})
        return command(common, **options)

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="rig")
@click.option("--debug", is_flag=True, help="Show a traceback for every error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Certify the client, storm a service, prove the truth in PostgreSQL.

    Exit codes: 0 pass, 1 the target failed a gate, 2 the client is below the null floor, 3 the evidence is invalid,
    64 usage, 69 target or database unavailable, 70 a fault of the rig, 78 bad configuration, 130 interrupted.
    """
    context.obj = debug


# --- verbs that load ---


def _steps(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        steps = tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}: give numbers like 50,250,1000") from None
    if not steps or min(steps) < 1 or len(set(steps)) != len(steps):
        raise click.BadParameter(f"{value!r}: give different numbers from 1")
    return steps


def _ids(context: click.Context, parameter: click.Parameter, value: str | None) -> frozenset[str] | None:
    from scenarios.ladder import IDS

    if value is None:
        return None
    chosen = frozenset(part.strip().upper() for part in value.split(","))
    if unknown := sorted(chosen - set(IDS)):
        raise click.BadParameter(f"{unknown[0]!r} is no scenario; known are {', '.join(IDS)}")
    return chosen


_climbing = [
    click.option("--steps", default="50,250,1000", show_default=True, callback=_steps, help="N of each ladder step."),
    click.option("--only", callback=_ids, help="Some scenarios only, like S1,S5."),
    click.option("--tenants", type=click.IntRange(1, 200), default=1, show_default=True, help="Spread over so many."),
    click.option("--documented", is_flag=True, help="The documented composition: totals 11,498 / 2,980 / 1 / 0."),
]


def _with_climbing(command: Callable[..., int]) -> Callable[..., int]:
    for option in reversed(_climbing):
        command = option(command)
    return command


@cli.command("run")
@_loading
@_with_climbing
@click.option("-n", "requests", type=click.IntRange(1), default=10_000, show_default=True, help="Requests of S8.")
@click.option("--max-seconds", type=float, default=10.0, show_default=True, help="Limit of S8.")
@click.option("--trials", type=click.IntRange(1, 20), default=3, show_default=True, help="Trials of S8.")
@click.option("--storms/--no-storms", default=True, show_default=True, help="A short storm on the fleet's locks.")
def run_(
    common: Common,
    steps: tuple[int, ...],
    only: frozenset[str] | None,
    tenants: int,
    documented: bool,
    requests: int,
    max_seconds: float,
    trials: int,
    storms: bool,
) -> int:
    """The whole job: certify the client, climb the ladder S1-S9, read the truth, judge, write the evidence."""
    from scenarios.ladder import IDS, SPREAD, Ladder

    profile, folder = common.load_profile()
    ladder = Ladder(
        routes=tuple(route.name for route in profile.routes),
        sources=profile.sources,
        steps=steps,
        only=only or frozenset(IDS),
        tenants=tenants,
        # Fixed tenants are few: nobody has twenty to spare.
        spread=0 if profile.tenants.fixed else SPREAD,
        documented=documented,
        perf_requests=requests,
        perf_limit_s=max_seconds,
        perf_trials=trials,
    )
    job = common.job("run", profile, folder, ladder.scenarios())
    return _execute(common, replace(job, settings=replace(job.settings, storms=storms)))


@cli.command("ladder")
@_loading
@_with_climbing
def ladder_(common: Common, steps: tuple[int, ...], only: frozenset[str] | None, tenants: int, documented: bool) -> int:
    """The ladder without the perf gate: S1-S7 at each step, then S9."""
    from scenarios.ladder import IDS, SPREAD, Ladder

    profile, folder = common.load_profile()
    ladder = Ladder(
        routes=tuple(route.name for route in profile.routes),
        sources=profile.sources,
        steps=steps,
        only=only or frozenset(IDS) - {"S8"},
        tenants=tenants,
        # Fixed tenants are few: nobody has twenty to spare.
        spread=0 if profile.tenants.fixed else SPREAD,
        documented=documented,
    )
    return _execute(common, common.job("ladder", profile, folder, ladder.scenarios()))


@cli.command("perf")
@_loading
@click.option("-n", "requests", type=click.IntRange(1), default=10_000, show_default=True, help="Requests of S8.")
@click.option("--max-seconds", type=float, default=10.0, show_default=True, help="Limit of S8.")
@click.option("--trials", type=click.IntRange(1, 20), default=3, show_default=True, help="Trials of S8.")
@click.option("--rate", type=float, help="Instead of S8: an open loop of so many requests/s.")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="With --rate: for so long.")
@click.option(
    "--p95", "p95_ms", type=float, default=500.0, show_default=True, help="With --rate: response time limit, ms."
)
def perf(
    common: Common, requests: int, max_seconds: float, trials: int, rate: float | None, seconds: float, p95_ms: float
) -> int:
    """The perf gate: 10,000 events in under 10 s, or a sustained rate."""
    from scenarios.ladder import Ladder
    from scenarios.s8_perf_gate import warm_up
    from scenarios.sustained import sustained

    profile, folder = common.load_profile()
    routes = tuple(route.name for route in profile.routes)
    if rate is None:
        ladder = Ladder(
            routes=routes,
            only=frozenset({"S8"}),
            spread=0,
            perf_requests=requests,
            perf_limit_s=max_seconds,
            perf_trials=trials,
        )
        scenarios = ladder.scenarios()
    else:
        if rate <= 0 or seconds <= 0:
            raise UsageError("--rate and --seconds must be above 0")
        scenarios = [
            warm_up(routes[0], "warm-up"),
            sustained(routes[0], ("sustained",), rate_per_s=rate, seconds=seconds, p95_limit_ms=p95_ms),
        ]
    return _execute(common, common.job("perf", profile, folder, scenarios))


@cli.command("calibrate")
@_loading
@click.option("--full", is_flag=True, help="The whole ruler: every delay at every rate, about a minute and a half.")
def calibrate(common: Common, full: bool) -> int:
    """Null benchmark and ruler: is this client good enough to judge anybody, and how far are its latencies right?"""
    profile, folder = common.load_profile()
    job = common.job("calibrate", profile, folder, ())
    if full:
        job = replace(job, settings=replace(job.settings, ruler="full"))
    return _execute(common, job)


@cli.command("prove")
@_loading
@click.option("--only-defect", "chosen", multiple=True, help="Some defects (with --storms: storms) only (repeatable).")
@click.option("--storms", is_flag=True, help="The storms instead: each protection of their references taken away.")
def prove_(common: Common, chosen: tuple[str, ...], storms: bool) -> int:
    """Every gate against the seeded defects: red where a defect declares it, green where it declares that."""
    from rig.console import ConsoleReporter
    from rig.profile import environment
    from rig.prove import proof_table, prove
    from rig.storm_proof import prove_storms

    profile, folder = common.load_profile()
    console = _console()
    with ConsoleReporter(console) as reporter:
        proving = prove_storms if storms else prove
        proof = proving(common.job("prove", profile, folder, ()), chosen, environment(), reporter)
    if common.json:
        click.echo(json.dumps(proof.document(), indent=2))
    else:
        _stdout().print(proof_table(proof))
    return int(proof.exit_code)


_PROTECTIONS = "; ".join(f"{storm}: {', '.join(names)}" for storm, names in PROTECTIONS.items())


@cli.command("storm", epilog=f"Protections of the reference implementations: {_PROTECTIONS}.")
@click.argument("name", metavar="STORM", type=click.Choice(STORMS))
@click.option("--profile", type=click.Path(path_type=Path), help="Who the target is (TOML). Default: the reference.")
@click.option("--processes", type=click.IntRange(1, 64), help="Processes of the fleet. Default: the storm's own.")
@click.option("--without", multiple=True, help="Do without a protection of the reference (repeatable).")
@click.option("--case", "cases", multiple=True, help="unknown-kid: some of its cases only (repeatable).")
@click.option("--kids", type=click.IntRange(1, 100_000), default=200, help="unknown-kid: so many a process (200).")
@click.option("--subject", default="", help="unknown-kid: reference, pyjwt, authlib, http, or module:factory.")
@click.option("--scoreboard", is_flag=True, help="unknown-kid: several verifiers one after the other, in one table.")
@click.option("--seed", type=int, default=1, show_default=True, help="What keys and bodies derive from.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--allow-host", help="Repeat the profile's target.allow_host to storm a host beyond loopback.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def storm_(
    name: str,
    profile: Path | None,
    processes: int | None,
    without: tuple[str, ...],
    cases: tuple[str, ...],
    kids: int,
    subject: str,
    scoreboard: bool,
    seed: int,
    out: Path,
    allow_host: str | None,
    as_json: bool,
) -> int:
    """Let a fleet of processes loose at one instant; a ledger outside it counts what really happens."""
    from rig.console import ConsoleReporter
    from rig.profile import bundled_profile, environment, load_profile
    from rig.settings import Job, Settings
    from rig.stampede.ground import Order
    from rig.storm import storm

    path = profile or bundled_profile()
    settings = Settings(seed=seed, out=out, allow_host=allow_host)
    job = Job("storm", tuple(sys.argv[1:]), settings, load_profile(path), path.resolve().parent)
    with ConsoleReporter(_console()) as reporter:
        order = Order(processes, without, cases, subject, kids, scoreboard)
        stormed = storm(job, name, order, environment(), reporter)
    if stormed.scoreboard and not as_json:
        _stdout().print(_board(stormed.scoreboard))
    return _conclude(stormed.finished, as_json=as_json, document=stormed.document())


def _board(rows: Sequence[dict[str, Any]]) -> Any:
    from rich.table import Table

    from rig.checks.scoreboard import COLUMNS, cells

    table = Table(title="what each verifier costs the origin", title_justify="left")
    for title, _ in COLUMNS:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*cells(row))
    return table


@cli.command("sample")
@click.option("--dsn-env", required=True, help="Name of the environment variable with the DSN; never the DSN itself.")
@click.option("--match", help="Regular expression over command lines: the processes of the server.")
@click.option("--pid", "pids", type=click.IntRange(1), multiple=True, help="A process of the server (repeatable).")
@click.option("--seconds", type=click.FloatRange(0.5), help="How long; without it until Ctrl-C.")
@click.option("--hz", type=click.FloatRange(0.1, 1000), default=20.0, show_default=True, help="Looks at the database.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def sample_(
    dsn_env: str,
    match: str | None,
    pids: tuple[int, ...],
    seconds: float | None,
    hz: float,
    out: Path,
    as_json: bool,
) -> int:
    """The samplers alone, beside any other load tool: waits of the database, CPU of the processes."""
    from rig.profile import environment
    from rig.sample import Watch, sample, tables

    if match is not None:
        try:
            re.compile(match)
        except re.error as error:
            raise UsageError(f"--match {match!r} is no regular expression: {error}") from None
    watch = Watch(dsn_env, match, pids, seconds, hz, out)
    until = "Ctrl-C ends it" if seconds is None else f"for {seconds:g} s"
    sampled = sample(
        watch, tuple(sys.argv[1:]), environment(), lambda pack: click.echo(f"rig: sampling, {until}", err=True)
    )
    if not as_json:
        _stdout().print(tables(sampled.case))
    return _conclude(sampled.finished, as_json=as_json)


# --- verbs on packs ---


@cli.command("check")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--digest", help="The digest that the run printed: the pack must be that very one.")
@click.option("--json", is_flag=True, help="Print one JSON document on stdout.")
def check(pack: Path, digest: str | None, json: bool) -> int:
    """Judge a pack again, offline, and verify that no byte of it was changed."""
    from rig.recheck import recheck

    finished = recheck(pack, digest)
    return _conclude(finished, as_json=json)


@cli.command("settle")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--json", is_flag=True, help="Print one JSON document on stdout.")
def settle_(pack: Path, json: bool) -> int:
    """Finish a pack that was left: read the truth where it still exists, judge, write the report."""
    from rig.console import ConsoleReporter
    from rig.profile import environment
    from rig.settle import settle

    with ConsoleReporter(_console()) as reporter:
        finished = settle(pack, environment(), reporter)
    return _conclude(finished, as_json=json)


# --- locust ---


@cli.command("worker")
@click.option("--master", required=True, metavar="HOST[:PORT]", help="The locust master.")
@click.option("--allow-host", help="Repeat the profile's target.allow_host to load a host beyond loopback.")
@click.option("--alone", is_flag=True, help="Load the master's --host also where it has no plan; nothing is judged.")
@click.option("--profile", type=click.Path(path_type=Path), help="With --alone: whose routes to use.")
@click.option("--seed", type=int, default=1, show_default=True, help="With --alone: what keys and bodies derive from.")
def worker_(master: str, allow_host: str | None, alone: bool, profile: Path | None, seed: int) -> int:
    """A native load worker for a locust master that runs scenarios/locustfile.py."""
    from rig.locust_bridge.wire import parse_address
    from rig.locust_bridge.worker import Alone, serve
    from rig.profile import bundled_profile, load_profile

    made_up = Alone(load_profile(profile or bundled_profile()), seed) if alone else None
    serve(parse_address(master), allow_host=allow_host, alone=made_up)
    return ExitCode.PASS


@cli.command("ui")
@click.option("--profile", type=click.Path(path_type=Path), help="Who the target is (TOML). Default: the reference.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Native workers.")
@click.option("--web-port", type=click.IntRange(1, 65535), default=8089, show_default=True, help="Port of the UI.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="What keys and bodies derive from.")
@click.option("--allow-host", help="Repeat the profile's target.allow_host to load a host beyond loopback.")
@click.option("--defect", "defects", multiple=True, help="Seed a defect into the reference service (repeatable).")
@click.option("--null-seconds", type=float, default=1.0, show_default=True, help="Length of a null trial.")
def ui(workers: int, web_port: int, allow_host: str | None, **session: Any) -> int:
    """Locust's web UI on loopback: database, service, master and native workers, until Ctrl-C."""
    from rig.locust_bridge.launch import Crowd, lead, options_of_session
    from rig.target import require_free_port

    require_free_port(web_port)
    arguments = ("-u", "50", "-r", "50", "-t", "20s", *options_of_session(allow_host=allow_host, **session))
    click.echo(f"rig: http://127.0.0.1:{web_port} in a moment; the rig's own page is /rig; Ctrl-C ends it", err=True)
    return lead(Crowd(arguments, workers, web_port, allow_host))


@cli.command("mix")
@click.option("--profile", type=click.Path(path_type=Path), help="Who the target is (TOML). Default: the reference.")
@click.option("--users", type=click.IntRange(1), default=50, show_default=True, help="Users: connections of the mix.")
@click.option("--seconds", type=click.IntRange(1), default=20, show_default=True, help="How long.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Native workers.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="What keys and bodies derive from.")
@click.option("--allow-host", help="Repeat the profile's target.allow_host to load a host beyond loopback.")
@click.option("--defect", "defects", multiple=True, help="Seed a defect into the reference service (repeatable).")
@click.option("--null-seconds", type=float, default=2.0, show_default=True, help="Length of a null trial.")
def mix(users: int, seconds: int, workers: int, allow_host: str | None, **session: Any) -> int:
    """The sustained mix of S1-S4, S6 and S7: a headless locust master and native workers."""
    from rig.locust_bridge.launch import Crowd, lead, options_of_session

    rate = ("-u", str(users), "-r", str(users), "-t", f"{seconds}s", "--only-summary")
    return lead(Crowd((*rate, *options_of_session(allow_host=allow_host, **session)), workers, None, allow_host))


@cli.command("ci")
@click.option("--profile", type=click.Path(path_type=Path), help="Who the target is (TOML). Default: the reference.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/ci"), show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="What keys and bodies derive from.")
@click.option("--seconds", type=click.IntRange(1), default=20, show_default=True, help="Length of the sustained mix.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Native workers of the mix.")
@click.option("--quick", is_flag=True, help="One rung, one trial of S8, one case of the storm.")
@click.option("--json", is_flag=True, help="Print one JSON document on stdout.")
def ci(profile: Path | None, out: Path, seed: int, seconds: int, workers: int, quick: bool, json: bool) -> int:
    """For a pipeline: null gate, ladder, perf gate, storm and the sustained mix; one exit code."""
    from rig import ci as pipeline
    from rig.console import ConsoleReporter
    from rig.profile import environment

    common = ("--seed", str(seed), *(("--profile", str(profile)) if profile else ()))
    steps = pipeline.steps_of(common, quick=quick, seconds=seconds, workers=workers)
    with ConsoleReporter(_console()) as reporter:
        code = pipeline.run_ci(steps, out, environment(), reporter)
    _print_ci(code, out, as_json=json)
    return code


def _print_ci(code: int, out: Path, *, as_json: bool) -> None:
    from rig.ci import document, summary

    click.echo(json.dumps(document(code, out), indent=2) if as_json else summary(out))


# --- the reference target for hand use ---


@cli.command("up")
@_loading
@click.option("--foreground", is_flag=True, help="Do not return; stop with Ctrl-C.")
def up(common: Common, foreground: bool) -> int:
    """Start the target of a profile and its database, and keep them running until `rig down`."""
    from rig.profile import environment
    from rig.standing import serve, start

    profile, folder = common.load_profile()
    job = common.job("up", profile, folder, ())
    if foreground:
        serve(job, environment())
        return ExitCode.PASS
    standing = start(job, common.profile)
    click.echo(json.dumps(standing.document(), indent=2) if common.json else standing.described())
    return ExitCode.PASS


@cli.command("down")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def down(out: Path) -> int:
    """Stop what `rig up` started."""
    from rig.standing import stop

    click.echo(stop(out), err=True)
    return ExitCode.PASS


# --- from results to words ---


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)


def _stdout() -> Any:
    from rich.console import Console

    return Console()


def _execute(common: Common, job: Job) -> int:
    from rig.console import ConsoleReporter
    from rig.profile import environment
    from rig.run import run

    with ConsoleReporter(_console()) as reporter:
        finished = run(job, environment(), reporter)
    return _conclude(finished, as_json=common.json)


def _conclude(finished: Finished, *, as_json: bool, document: dict[str, Any] | None = None) -> int:
    from rig.evidence.summary import console

    if as_json:
        click.echo(json.dumps(document or finished.document(), indent=2))
    else:
        _stdout().print(console(finished.judgement, pack=finished.pack, digest=finished.digest))
    if not finished.sealed:
        click.echo(f"rig: the pack is not finished; run: rig settle {shlex.quote(str(finished.pack))}", err=True)
    return finished.judgement.exit_code


def main(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. Nothing that goes wrong ends in 1 or 2 but a verdict."""
    debug = "--debug" in arguments[:1]
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        result = cli.main(args=list(arguments), prog_name="rig", standalone_mode=False)
        return int(result or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("rig: interrupted", err=True)
        return ExitCode.INTERRUPTED
    except RigError as error:
        if debug:
            traceback.print_exc()
        click.echo(f"rig: {error}", err=True)
        return error.exit_code
    except Exception as error:  # the last line of defence: a bug must not look like a verdict
        if debug:
            traceback.print_exc()
        click.echo(f"rig: a fault of the rig itself: {type(error).__name__}: {error}", err=True)
        click.echo("rig: run it again as `rig --debug …` and report what it prints", err=True)
        return ExitCode.INTERNAL


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def entry() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))
