"""How well repeats of ``rig capacity`` agree on one target, and with an exhaustive sweep of the rates around them.

Each search has a database and a service of its own, as a judged one has. One certificate serves all. Keep the machine
quiet. One subject takes twenty minutes; ``-k`` picks some. RIG_BENCH_REPEATS says how often each is searched,
RIG_BENCH_SEARCH_S how many seconds a search may take.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import click
import pytest

from rig.checks.capacity import find_capacity
from rig.diagnose import explain
from rig.engine.pool import Pool
from rig.evidence.capacity import CapacityPlan
from rig.evidence.case import Case
from rig.machine.supervisor import Supervisor
from rig.profile import bundled_profile, environment, load_profile
from rig.run import capacity
from rig.run.certify import certify
from rig.run.job import Job
from rig.run.load_target import load_target
from rig.run.open_run import open_run
from rig.run.reporter import Reporter
from rig.settings import Settings
from rig.target.launch import migrate
from rig.target.postgres import open_cluster
from rig.target.store import Store, new_store
from rig.verbs.capacity import with_processes
from scenarios.capacity import capacity_step
from scenarios.s8 import warm_up

REPEATS = 5
SEARCH_S, SWEEP_S = 180.0, 600.0
LIMIT = 0.05
AROUND = [0.88 + 0.02 * step for step in range(13)]
"""The rates of the sweep, as shares of the median answer."""
ROUNDS = 3
SLOW_COMMIT = {"commit_delay": "5000", "commit_siblings": "0"}


@dataclass(frozen=True)
class Subject:
    """The reference service with so many processes, each with so many connections; settings of its database."""

    processes: int
    pool: int
    database: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"processes-{self.processes}-pool-{self.pool}{'-slow-commit' if self.database else ''}"


SUBJECTS = [Subject(processes, pool) for processes in (1, 2) for pool in (1, 4, 16)] + [Subject(2, 8, SLOW_COMMIT)]


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def bench_repeats_of_a_search(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spread of the answers (the largest over the smallest), and the median of them beside that of the sweep."""
    job, repeats = prepare_job(subject, tmp_path), int(os.environ.get("RIG_BENCH_REPEATS", REPEATS))
    with (
        Supervisor() as supervisor,
        Pool(1) as pool,
        open_cluster(supervisor, environ=os.environ, settings=subject.database) as cluster,
    ):
        first = search(job, pool, new_store(cluster, "search_0"))
        later = [search(job, pool, new_store(cluster, f"search_{n}"), first) for n in range(1, repeats)]
        found = [(case, find_capacity(case)) for case in (first, *later)]
        answers = [each.estimate.per_s for _, each in found if each.estimate is not None]
        assert len(answers) == repeats, [each.words for _, each in found]
        rates = [median(answers) * share for share in AROUND] * ROUNDS
        random.Random(1).shuffle(rates)
        following = iter(rates)
        monkeypatch.setattr(capacity, "next_rate", lambda *_: next(following, "all rates were tried"))
        monkeypatch.setattr(capacity, "may_be_brief", lambda *_: False)
        assert job.capacity is not None
        sweep = replace(job.capacity, plan=replace(job.capacity.plan, limit_s=SWEEP_S))
        swept = find_capacity(search(replace(job, capacity=sweep), pool, new_store(cluster, "sweep"), first))
    spread = max(answers) / min(answers) - 1
    off = f"{median(answers) / swept.estimate.per_s - 1:+.1%} off the sweep's" if swept.estimate else "no sweep"
    click.echo(f"\n{subject.name}: spread {spread:.1%}, median {median(answers):,.0f}/s, {off} {swept.words}")
    for case, each in found:
        diagnosis = explain(case)
        click.echo(f"  {each.words}, {len(each.steps)} steps; {diagnosis.answer if diagnosis else ''}")
    assert spread <= LIMIT


def search(job: Job, pool: Pool, store: Store, certified: Case | None = None) -> Case:
    """What a search saw; with the certificate of an earlier one, where there is one."""
    run = open_run(job, environment(), Reporter())
    if certified is None:
        certify(run, pool)
    elif certified.certificate is not None:
        run.record.pack.write_certificate(certified.certificate)
        run.record.pack.write_latency_calibration(certified.latency_calibration)
    migrate(job.profile, job.profile_dir, store, run.environ, job.settings)
    load_target(run, pool, store)
    return run.record.pack.load()


def prepare_job(subject: Subject, folder: Path) -> Job:
    """The search, with a copy of the bundled profile beside settings that have this pool."""
    bundled = bundled_profile()
    settings = (bundled.parent / "reference.service.toml").read_text()
    for bound in ("pool_min = 8", "pool_max = 8"):
        assert bound in settings
        settings = settings.replace(bound, f"{bound.partition('=')[0]}= {subject.pool}")
    (folder / "reference.service.toml").write_text(settings)
    (folder / bundled.name).write_text(bundled.read_text())
    plain = Job("capacity", (), Settings(out=folder), load_profile(folder / bundled.name), folder)
    plan = CapacityPlan(500.0, limit_s=float(os.environ.get("RIG_BENCH_SEARCH_S", SEARCH_S)))
    return with_processes(capacity.add_capacity(plain, plan, warm_up, capacity_step), subject.processes)
