"""A run that has begun: what was asked for, who is told, and its open pack."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from rig.calibrate.client import CalibratedClient
from rig.calibrate.cores import CorePlan, plan_of_this_machine
from rig.calibrate.fingerprint import fingerprint
from rig.engine.pool import Pool
from rig.model import RunKey
from rig.requests.identity import draw_run_key
from rig.run.job import Job
from rig.run.record import Record
from rig.run.reporter import Reporter
from rig.storms.environment import StormEnvironment
from rig.target.postgres import Cluster


@dataclass(frozen=True, slots=True)
class OpenRun:
    """What every step needs. ``cores`` says which process runs where. Only ``record``, the journal, changes."""

    job: Job
    environ: Mapping[str, str]
    reporter: Reporter
    record: Record
    cores: CorePlan

    @property
    def key(self) -> RunKey:
        """What all keys and bodies of the run derive from."""
        return self.record.key

    @property
    def routes(self) -> tuple[str, ...]:
        """The routes that the scenarios load, in the profile's order; empty without scenarios."""
        loaded = {scenario.route for scenario in self.job.scenarios}
        return tuple(route.name for route in self.job.profile.routes if route.name in loaded)

    def client(self, pool: Pool) -> CalibratedClient:
        """What the calibration of these workers needs."""
        folder = self.record.path / "calibration"
        return CalibratedClient(
            pool, self.job.profile, self.key, folder, stub_cores=self.cores.server, progress=self.reporter.stage
        )

    def storm_environment(self, cluster: Cluster) -> StormEnvironment:
        """What storms of this run need: a server of their own, the profile, folders in the pack."""
        job, record = self.job, self.record
        allowed = job.settings.allowed_host(job.profile.target.allow_host)
        seed = job.settings.seed
        return StormEnvironment(
            cluster, job.profile, job.profile_dir, self.environ, record.path, allowed, record.secrets, seed
        )


def open_run(job: Job, environ: Mapping[str, str], reporter: Reporter) -> OpenRun:
    """Give the run its name and make its pack."""
    key = draw_run_key(job.settings.seed)
    cores = plan_of_this_machine(0 if job.expected_workers is not None else job.settings.workers)
    about = fingerprint(environ, job.profile.target.commit)
    record = Record.begin(job, key, time.monotonic_ns(), {**about, "core_planning": cores.as_record()})
    record.secrets.learn_from(job.profile, environ)
    return OpenRun(job, environ, reporter, record, cores)
