"""Bottlenecks that ``rig prove --diagnosis`` seeds, one at a time, each with the hypothesis that must come first.

A ``Seed`` is a value with its ``apply`` (``rig.selftest.bench``): a switch of the reference service, a setting of the
database, or something done to client or machine. ``QuotaUnavailable`` says what this user or machine cannot have.

The slow commit lies in PostgreSQL itself, below all of the service: ``commit_delay`` with ``commit_siblings = 0``
makes the process that writes the log wait before every flush, while it holds the lock on the log. A slow disk does the
same. The machine is made scarce in two ways: by a CPU quota on everything that belongs to the run, where control
groups may be made, and by foreign processes that compute.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import psycopg
from psycopg import sql

from rig.evidence.confusion import NOTHING
from rig.machine.processes import children
from rig.machine.quota import QuotaUnavailable, open_cpu_quota
from rig.selftest.bench import Apply, PlannedRun, ScenarioWatch, beforehand
from rig.selftest.foreign_load import foreign_load
from rig.selftest.injections import switch
from rig.selftest.throttle import throttle

SCENARIO = "S8"
"""The scenario that is judged and diagnosed."""
QUOTA_CORES = 0.6
"""For everything together: client, service and database need two cores or more."""
CLIENT_S = {"run_s": 0.002, "stop_s": 0.098}
"""A client that gets a fiftieth of a core: enough for a few hundred requests a second."""


def configure_database(settings: Mapping[str, str]) -> Apply[PlannedRun]:
    """Change settings for every new session of the run's database, and of no other; they go with it."""

    def change(run: PlannedRun) -> None:
        try:
            with psycopg.connect(run.store.truth_dsn, autocommit=True, connect_timeout=10) as connection:
                for name, value in settings.items():
                    connection.execute(
                        sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                            sql.Identifier(connection.info.dbname), sql.Identifier(name), sql.Literal(value)
                        )
                    )
        except psycopg.errors.InsufficientPrivilege as error:
            raise QuotaUnavailable(f"the owner of the database may not set {', '.join(settings)}: {error}") from None

    return beforehand(change)


def throttle_client(run: PlannedRun) -> AbstractContextManager[object]:
    """Throttle the client while requests of the judged scenario are under way."""
    run.reporter = watch = ScenarioWatch(run.reporter, SCENARIO)
    return throttle(lambda: run.pool.pids if watch.under_way else (), **CLIENT_S)


@contextmanager
def limit_cpu(run: PlannedRun) -> Iterator[None]:
    """A quota on everything, on the rig itself too: what it starts from now on is under it, as target and samplers."""
    pids = [os.getpid(), *run.pool.pids]
    if run.store.pid is not None:
        pids += [run.store.pid, *(child.pid for child in children(run.store.pid, recursive=True))]
    with open_cpu_quota(QUOTA_CORES) as quota:
        quota.hold(pids)
        yield


def load_machine(_: PlannedRun) -> AbstractContextManager[object]:
    """Other processes compute beside the run."""
    return foreign_load()


@dataclass(frozen=True, slots=True)
class Seed:
    """One bottleneck. ``expected`` is what a diagnosis must answer."""

    name: str
    expected: str
    apply: Apply[PlannedRun] = nullcontext


HEALTHY = Seed("healthy", NOTHING)
ROW_LOCK_CONVOY = Seed("row-lock-convoy", "H-A2", switch("row-lock-convoy"))
NO_POOL = Seed("no-pool", "H-B2", switch("no-pool"))
SEEDS = (
    HEALTHY,
    Seed("slow-commit", "H-A1", configure_database({"commit_delay": "25000", "commit_siblings": "0"})),
    ROW_LOCK_CONVOY,
    Seed("pool-of-one", "H-B1", switch("pool-of-one")),
    NO_POOL,
    Seed("log-amplification", "H-C", switch("log-amplification")),
    Seed("throttled-client", "H-D", throttle_client),
    Seed("busy-loop", "H-E", switch("busy-loop")),
    Seed("application-lock", "H-G", switch("slow")),
    Seed("sleeps", "H-G", switch("sleeps")),
    Seed("slow-dependency", "H-G", switch("slow-dependency")),
    Seed("cpu-quota", "H-F", limit_cpu),
    Seed("foreign-load", "H-F", load_machine),
)
