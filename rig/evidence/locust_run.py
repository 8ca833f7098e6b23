"""What the workers and the master of a locust run say of themselves: the books of a run that locust led. Frozen values.

Flow: each worker ends with a ``WorkerAccount``; the master writes down what it saw of each (``WorkerSeen``) and what
its own statistics say (``MasterAccount``). ``rig.locust_bridge.gather`` makes scenario runs of them,
``rig.checks.locust_run`` holds the books against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rig.evidence.scenario_runs import WorkerReport
from rig.model import Scenario, UserClass


@dataclass(frozen=True, slots=True)
class BatchAccount:
    """One batch as its worker leaves it: ``sha256`` (hex) and ``rows`` are of the rows that it hands over."""

    scenario: Scenario
    report: WorkerReport
    rows: int
    sha256: str
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class WorkerAccount:
    """The final account of one worker. Clock offset and its uncertainty are against the master's host."""

    number: int
    node: str
    host: str
    pid: int
    reports: int
    """Statistics messages sent, this test."""
    requests: int
    failures: int
    cpu_s: float
    wall_s: float
    clock_offset_ns: int = 0
    clock_error_ns: int = 0
    batches: tuple[BatchAccount, ...] = ()
    notes: tuple[str, ...] = ()
    overdue: int | None = None
    """Requests that were due and never sent: their users waited for an answer to the end. None where nobody counted."""


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """What the master saw of a worker. ``credit``: by user class, how many batches of each stream it may use.

    One that was ``late`` has no share of the requests of fixed count.
    """

    number: int
    node: str
    reports: int = 0
    requests: int = 0
    failures: int = 0
    credit: Mapping[str, int] = field(default_factory=dict)
    lost: str = ""
    late: bool = False


@dataclass(frozen=True, slots=True)
class MasterAccount:
    """The master's books. ``client`` was "locust" where locust's own users sent (until 0.1).

    ``fixed`` is the scenario of fixed count that all workers shared, if there was one.
    """

    client: Literal["native", "locust"]
    workers: tuple[WorkerSeen, ...]
    requests: int
    failures: int
    route: str
    tenant: str
    timeout_s: float
    fixed: Scenario | None = None
    notes: tuple[str, ...] = ()
    user_classes: tuple[UserClass, ...] = ()


@dataclass(frozen=True, slots=True)
class LocustRun:
    """Both sides of the books."""

    master: MasterAccount
    workers: tuple[WorkerAccount, ...]
