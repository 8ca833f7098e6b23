"""``rig sample``: the samplers alone, while any other load tool sends.

Flow: sample the database that the environment names and the processes that the command line names, until the time is
over or Ctrl-C. Then ``judge_samples`` judges whether the samplers looked all the time, writes the report and seals the
pack. The rig sends nothing, so no gate judges a target.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Group, RenderableType
from rich.table import Table

import rig
import rig.report.documents
from rig.calibrate.fingerprint import fingerprint
from rig.checks.judge import judgement_of
from rig.checks.samplers import span
from rig.diagnose import aas, cpu
from rig.errors import Unavailable, UsageError
from rig.evidence.case import Case
from rig.evidence.manifest import UNENDED, Manifest
from rig.evidence.pack import Pack
from rig.evidence.sample_names import Role
from rig.machine import libpq
from rig.machine.supervisor import Supervisor
from rig.profile import secret_from
from rig.run.record import FinishedRun
from rig.samplers.process import SamplerProcess
from rig.samplers.roles import Rule
from rig.samplers.sampling import SamplingPlan, sampling
from rig.target.postgres.connection import connect, require_unpooled

VERB = "sample"
_LOOK_EVERY_S = 0.5
_LEAST_SHOWN = 0.005


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """What ``rig sample`` is to look at. ``seconds`` None: until Ctrl-C."""

    dsn_env: str
    match: str | None = None
    pids: tuple[int, ...] = ()
    seconds: float | None = None
    hz: float = 20.0
    out: Path = Path("results")

    def document(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self) | {"out": str(self.out), "pids": list(self.pids), "samplers": True}


@dataclass(frozen=True, slots=True)
class FinishedSampling:
    """A pack and what it holds, for the table."""

    finished: FinishedRun
    case: Case


def sample(
    options: SamplingOptions, argv: tuple[str, ...], environ: Mapping[str, str], on_start: Callable[[], None]
) -> FinishedSampling:
    """Look until the time is over; ``on_start`` is called once all samplers look.

    ConfigError or Unavailable where the database cannot be sampled, UsageError for a process that does not exist.
    """
    dsn = _dsn_from(options, environ)
    for pid in options.pids:
        if not Path(f"/proc/{pid}").exists():
            raise UsageError(f"--pid {pid}: there is no such process")
    started = datetime.now(UTC)
    manifest = Manifest(
        rig_version=rig.__version__,
        verb=VERB,
        argv=argv,
        seed=0,
        started_utc=started,
        epoch_monotonic_ns=time.monotonic_ns(),
        settings=options.document(),
        fingerprint=fingerprint(environ),
        cut_short=UNENDED,
    )
    pack = Pack.create(options.out, VERB, 0, started)
    pack.hold()
    pack.write_manifest(manifest)
    rules = (Rule(Role.SERVER, options.pids, options.match), Rule(Role.RIG, (os.getpid(),)))
    with Supervisor(), sampling(SamplingPlan(dsn, rules, options.hz), pack.samples_folder) as samplers:
        on_start()
        with suppress(KeyboardInterrupt):  # how sampling without a time ends
            _wait(samplers.processes, options.seconds)
    return judge_samples(pack, replace(manifest, cut_short=""))


def _dsn_from(options: SamplingOptions, environ: Mapping[str, str]) -> str:
    dsn = secret_from(environ, options.dsn_env, "the DSN of the database to look at")
    dsn = libpq.complete(dsn, options.dsn_env)
    try:
        with connect(dsn, "rig-sample", 5) as connection:
            require_unpooled(connection, options.dsn_env)
    except psycopg.Error as error:
        words = " ".join(str(error).split())
        raise Unavailable(f"the database that {options.dsn_env} names cannot be reached: {words}") from None
    return dsn


def _wait(samplers: tuple[SamplerProcess, ...], seconds: float | None) -> None:
    """Until the time is over, or a sampler has died: what the others see is worth nothing then."""
    deadline = None if seconds is None else time.monotonic() + seconds
    never = threading.Event()
    while all(sampler.alive for sampler in samplers):
        left_s = _LOOK_EVERY_S if deadline is None else min(_LOOK_EVERY_S, deadline - time.monotonic())
        if left_s <= 0:
            return
        never.wait(left_s)


def judge_samples(pack: Pack, manifest: Manifest) -> FinishedSampling:
    """Judge what was sampled, write the report, seal the pack and let it go."""
    manifest = replace(manifest, ended_utc=datetime.now(UTC))
    pack.write_manifest(manifest)
    case = pack.load()
    judgement = judgement_of(case)
    pack.write_judgement(judgement)
    rig.report.documents.write(pack, manifest, case, judgement)
    digest = pack.seal()
    pack.let_go()
    return FinishedSampling(FinishedRun(VERB, judgement, pack.path, digest, None), case)


def tables(case: Case) -> RenderableType:
    """Average active sessions by wait event, and cores by role."""
    window = span(case)
    if window is None:
        return "nothing was sampled"
    waits, cores = aas.by_event(case.samples, *window), cpu.by_role(case.samples, *window)
    seconds = (window[1] - window[0]) / 1e9
    sessions = _table(f"average active sessions over {seconds:.1f} s: {waits.sum():.2f}", waits.to_dict())
    return Group(sessions, "", _table("cores busy by role", cores.to_dict()), "")


def _table(title: str, values: Mapping[Any, float]) -> Table:
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    for name, value in values.items():
        if value >= _LEAST_SHOWN:
            table.add_row(str(name), f"{value:.2f}")
    return table
