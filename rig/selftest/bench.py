"""What the runs of a proof share, and how one of them goes under a defect.

Flow: ``open_bench`` starts one database server and one pool of workers. ``Bench.run`` makes a run of its own. Before
the run begins its ``PlannedRun`` goes to the ``apply`` of a defect or a bottleneck, which may change it, and may act
for as long as the run goes on. The first run certifies the client for all others. Not for what is sent
(``rig.selftest.stages``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from rig.calibrate.cores import plan_of_this_machine
from rig.engine.pool import Pool
from rig.evidence.certificate import Certificate
from rig.evidence.judgement import Judgement
from rig.machine.supervisor import Supervisor
from rig.model import Scenario
from rig.run.answers_so_far import SeenSoFar
from rig.run.certify import certify, is_certified
from rig.run.job import Job
from rig.run.leak_check import look_after
from rig.run.load_target import load_target
from rig.run.open_run import OpenRun, open_run
from rig.run.record import FinishedRun, conclude_on_error
from rig.run.reporter import ForwardingReporter, Reporter
from rig.target.launch import migrate
from rig.target.postgres import Cluster, open_cluster
from rig.target.store import Store, new_store

_DATABASE_NAME_MOST = 40

T = TypeVar("T")
Apply = Callable[[T], AbstractContextManager[object]]


def beforehand(change: Callable[[T], object]) -> Apply[T]:
    """An ``apply`` that is done before the run begins."""

    @contextmanager
    def apply(run: T) -> Iterator[None]:
        change(run)
        yield

    return apply


@dataclass(slots=True)
class PlannedRun:
    """One run before it begins. ``supervisor`` ends what carries its mark; ``afterwards`` is left after that."""

    job: Job
    reporter: Reporter
    pool: Pool
    store: Store
    supervisor: Supervisor
    afterwards: ExitStack

    def change_settings(self, **changes: Any) -> None:
        self.job = replace(self.job, settings=replace(self.job.settings, **changes))

    def change_scenarios(self, **changes: Any) -> None:
        """Change every scenario that will be sent."""
        self.job = replace(self.job, scenarios=tuple(replace(one, **changes) for one in self.job.scenarios))


@dataclass(slots=True)
class Bench:
    """What all runs share. ``refused`` is how the first run was judged where its client was not certified."""

    job: Job
    environ: Mapping[str, str]
    reporter: Reporter
    pool: Pool
    cluster: Cluster
    certificate: Certificate | None = None
    refused: Judgement | None = None
    runs: int = 0
    healthy: dict[str, Path] = field(default_factory=dict)
    """The packs of the first runs, by their stages: corrupt copies are made of them."""

    def run(
        self,
        name: str,
        apply: Apply[PlannedRun],
        act: Callable[[Bench, OpenRun, PlannedRun], None],
        *,
        scenarios: Sequence[Scenario] = (),
        samplers: bool = True,
        last_look: bool = False,
        verb: str = "",
        reports: bool = False,
    ) -> FinishedRun:
        """Have ``act`` fill the pack of a run for as long as ``apply`` is in force, then judge it."""
        settings = self.job.settings
        last_look_s = settings.last_look_s if last_look else 0.0
        settings = replace(settings, defects=(), samplers=samplers, storms=False, last_look_s=last_look_s)
        job = replace(self.job, verb=verb or f"prove-{name}", settings=settings, scenarios=tuple(scenarios))
        with ExitStack() as afterwards, Supervisor() as supervisor:
            self.runs += 1
            store = new_store(self.cluster, f"prove_{self.runs}_{name.replace('-', '_')}"[:_DATABASE_NAME_MOST])
            run = PlannedRun(job, self.reporter, self.pool, store, supervisor, afterwards)
            with apply(run):
                opened = open_run(run.job, self.environ, run.reporter)
                with conclude_on_error(opened.record, "run"):
                    fit = self.certify(opened)
                    if fit:
                        act(self, opened, run)
                    opened.record.mark_complete()
        with conclude_on_error(opened.record, "run"):
            finished = opened.record.judge(reports=reports)
        if not fit:
            self.refused = finished.judgement
        return finished

    def certify(self, opened: OpenRun) -> bool:
        """Certify the client in the first run, for all that follow. False where it may judge nobody."""
        if self.certificate is not None:
            opened.record.pack.write_certificate(self.certificate)
            return True
        self.certificate = certify(opened, self.pool)
        return is_certified(opened, self.certificate)

    @property
    def valid_certificate(self) -> Certificate:
        """The certificate of the client, which the first run has made."""
        assert self.certificate is not None, "the healthy run goes first"
        return self.certificate


@contextmanager
def open_bench(job: Job, environ: Mapping[str, str], reporter: Reporter) -> Iterator[Bench]:
    """A server and workers for all runs of a proof."""
    cores = plan_of_this_machine(job.settings.workers).client
    with (
        Supervisor() as supervisor,
        Pool(job.settings.workers, cores) as pool,
        open_cluster(supervisor, environ=environ) as cluster,
    ):
        yield Bench(job, environ, reporter, pool, cluster)


def load(_: Bench, opened: OpenRun, run: PlannedRun) -> None:
    """Send the scenarios of a run to the service, and look at what it leaves behind."""
    job = opened.job
    migrate(job.profile, job.profile_dir, run.store, opened.environ, job.settings)
    use = load_target(opened, run.pool, run.store)
    use.raise_interrupt()
    ports = [(what, port) for what, port in use.ports if port != run.store.port]  # the shared server goes on
    opened.record.pack.write_leak_findings([*use.findings, *look_after(run.supervisor, ports)])


class ScenarioWatch(ForwardingReporter):
    """A reporter that passes everything on and knows whether requests of one scenario are under way.

    ``begun`` is called once when the first of them have ended.
    """

    def __init__(self, reporter: Reporter, scenario: str, begun: Callable[[], object] = lambda: None) -> None:
        super().__init__(reporter)
        self._scenario = scenario
        self._begun = begun
        self._chosen = False
        self.under_way = False

    def stage(self, what: str) -> None:
        """A new stage begins."""
        self._chosen = self.under_way = False
        super().stage(what)

    def run_scenario(self, scenario: Scenario, number: int, scenario_runs: int, seen: SeenSoFar | None = None) -> None:
        """A scenario run begins. Its workers prepare first."""
        self._chosen, self.under_way = scenario.id == self._scenario, False
        super().run_scenario(scenario, number, scenario_runs, seen)

    def progress(self, requests: int) -> None:
        """So many requests of the scenario run have ended."""
        if self._chosen and requests and not self.under_way:
            self.under_way = True
            self._begun()
        super().progress(requests)
