"""A run whose target stands: what the steps that send something need."""

from __future__ import annotations

from dataclasses import dataclass

from rig.engine.pool import Load, LoadWorkers
from rig.model import Scenario
from rig.run.open_run import OpenRun
from rig.target.launch import LiveTarget
from rig.target.store import Store
from rig.target.tenants import Tenancy


@dataclass(frozen=True, slots=True)
class LiveRun(OpenRun):
    """``pool`` sends to ``target``, which keeps its rows in ``store`` and knows the tenants of ``tenancy``."""

    pool: LoadWorkers
    target: LiveTarget
    store: Store
    tenancy: Tenancy

    def load(self, scenario: Scenario) -> Load:
        """What the workers need to send one scenario."""
        return Load(
            scenario,
            self.job.profile,
            self.key,
            {name: self.tenancy.credentials[name] for name in scenario.tenants},
            self.target.endpoint,
            lambda worker: self.record.history.rows_file(scenario, worker),
        )
