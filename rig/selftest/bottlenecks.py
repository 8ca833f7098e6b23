"""Bottlenecks that ``rig prove --diagnosis`` seeds, one at a time, each with the hypothesis that must come first.

Flow: a ``Seed`` is a value: switches of the reference service, settings of the database, or something done beside the
run. ``planted`` is the context in which the run goes on; what a user of this machine may not do is ``NotPlantable``.

The slow commit lies in PostgreSQL itself, below all of the service: ``commit_delay`` with ``commit_siblings = 0`` has
the process that writes the log wait, with the lock on the log held, before every flush, as a slow disk would. The
machine is taken away twice: by a CPU quota on everything that belongs to the run, where control groups may be made,
and by foreign processes that compute.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum

import psycopg
from psycopg import sql

from rig.engine.pool import Pool
from rig.errors import RigError
from rig.evidence.confusion import NOTHING
from rig.machine.processes import children
from rig.model import Scenario
from rig.run.reporter import ForwardingReporter, Reporter
from rig.selftest.foreign_load import foreign_load
from rig.selftest.quota import QuotaUnavailable, open_quota
from rig.selftest.throttle import throttled
from rig.target.store import Store

QUOTA_CORES = 0.6
"""For everything together: client, service and database need two cores or more."""
CLIENT_RUN_S, CLIENT_STOP_S = 0.002, 0.098
"""A client that gets a fiftieth of a core: enough for a few hundred requests a second."""


class Beside(StrEnum):
    """What is done beside a run."""

    THROTTLED_CLIENT = "throttled-client"
    QUOTA = "quota"
    FOREIGN_LOAD = "foreign-load"


@dataclass(frozen=True, slots=True)
class Seed:
    """One bottleneck. ``expected``: what a diagnosis must answer. ``service``: switches of the reference service."""

    name: str
    expected: str
    service: tuple[str, ...] = ()
    database: Mapping[str, str] = field(default_factory=dict)
    beside: Beside | None = None


HEALTHY = Seed("healthy", NOTHING)
SEEDS = (
    HEALTHY,
    Seed("slow-commit", "H-A1", database={"commit_delay": "25000", "commit_siblings": "0"}),
    Seed("row-lock-convoy", "H-A2", service=("row-lock-convoy",)),
    Seed("pool-of-one", "H-B1", service=("pool-of-one",)),
    Seed("no-pool", "H-B2", service=("no-pool",)),
    Seed("log-amplification", "H-C", service=("log-amplification",)),
    Seed("throttled-client", "H-D", beside=Beside.THROTTLED_CLIENT),
    Seed("busy-loop", "H-E", service=("busy-loop",)),
    Seed("cpu-quota", "H-F", beside=Beside.QUOTA),
    Seed("foreign-load", "H-F", beside=Beside.FOREIGN_LOAD),
)


def seed_named(name: str) -> Seed:
    """The bottleneck of that name; KeyError when there is none."""
    return {seed.name: seed for seed in SEEDS}[name]


class NotPlantable(RigError):
    """This user, or this machine, cannot have that bottleneck."""


class Driving(ForwardingReporter):
    """A reporter that passes everything on and knows whether requests of one scenario are under way."""

    def __init__(self, reporter: Reporter, scenario: str) -> None:
        super().__init__(reporter)
        self._scenario = scenario
        self._chosen = False
        self.under_way = False

    def stage(self, what: str) -> None:
        """A new stage begins."""
        self._chosen = self.under_way = False
        super().stage(what)

    def run_scenario(self, scenario: Scenario, number: int, scenario_runs: int) -> None:
        """A drive begins: its worker prepares first."""
        self._chosen, self.under_way = scenario.id == self._scenario, False
        super().run_scenario(scenario, number, scenario_runs)

    def progress(self, requests: int) -> None:
        """So many requests of the drive have ended."""
        self.under_way = self._chosen and requests > 0
        super().progress(requests)


@contextmanager
def planted(seed: Seed, store: Store, pool: Pool, driving: Driving) -> Iterator[None]:
    """Have a bottleneck for the time of the context. NotPlantable where that cannot be."""
    if seed.database:
        _configure(store, seed.database)
    with _BESIDE[seed.beside](store, pool, driving) if seed.beside else nullcontext():
        yield


def _configure(store: Store, settings: Mapping[str, str]) -> None:
    """For every new session of this database, and no other; they go with it."""
    try:
        with psycopg.connect(store.truth_dsn, autocommit=True, connect_timeout=10) as connection:
            for name, value in settings.items():
                connection.execute(
                    sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                        sql.Identifier(connection.info.dbname), sql.Identifier(name), sql.Literal(value)
                    )
                )
    except psycopg.errors.InsufficientPrivilege as error:
        raise NotPlantable(f"the owner of the database may not set {', '.join(settings)}: {error}") from None


def _throttled_client(store: Store, pool: Pool, driving: Driving) -> AbstractContextManager[object]:
    return throttled(lambda: pool.pids if driving.under_way else (), run_s=CLIENT_RUN_S, stop_s=CLIENT_STOP_S)


@contextmanager
def _quota(store: Store, pool: Pool, driving: Driving) -> Iterator[None]:
    """On the rig itself too, so that all that it starts from now on is under it: the target, the samplers."""
    pids = [os.getpid(), *pool.pids]
    if store.pid is not None:
        pids += [store.pid, *(child.pid for child in children(store.pid, recursive=True))]
    try:
        with open_quota(QUOTA_CORES) as quota:
            quota.hold(pids)
            yield
    except QuotaUnavailable as error:
        raise NotPlantable(str(error)) from None


def _foreign_load(store: Store, pool: Pool, driving: Driving) -> AbstractContextManager[object]:
    return foreign_load()


_BESIDE: Mapping[Beside, Callable[[Store, Pool, Driving], AbstractContextManager[object]]] = {
    Beside.THROTTLED_CLIENT: _throttled_client,
    Beside.QUOTA: _quota,
    Beside.FOREIGN_LOAD: _foreign_load,
}
