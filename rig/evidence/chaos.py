"""Faults as a pack holds them: which were planned, when each struck and was healed. Frozen values, no I/O.

Flow: a ``ChaosSchedule`` is drawn from the seed before the first request. Each of its faults becomes a ``FaultRecord``,
and two ``Standing`` say what lay open in the database before and after. ``ChaosReport`` is all of it (``chaos.json``).

Times are nanoseconds of the host's monotonic clock, as in the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.evidence.truth import DiscrepancyKind

S11 = "S11"
"""The scenario during which faults strike."""
FAULTS = (
    *("process-killed", "service-killed", "process-stopped", "service-stopped", "rolling-deploy", "deploy"),
    *("cpu-bound", "memory-bound", "database-killed", "database-restarted", "sessions-terminated", "slots-taken"),
    *("table-locked", "read-only", "disk-full"),
    *("sender-cut", "sender-held", "sender-delayed", "sender-throttled", "sender-mute", "sender-half-open"),
    *("database-cut", "database-held", "database-delayed", "database-throttled", "database-mute", "database-half-open"),
)
"""The names of the faults that the rig brings (``rig.chaos.catalog``)."""
DEPLOYS = ("rolling-deploy", "deploy")
"""Faults that a service is told of, by SIGTERM: no request that it has taken may fail."""
OF_ONE_PROCESS = ("process-killed", "process-stopped")
"""Faults of one serving process: the others go on."""

SOON_NS = 1_000_000_000
"""An answer that a crash belies came so long before it at most."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of a schedule: it strikes ``at_s`` after the beginning of the scenario and lasts ``for_s``."""

    number: int
    fault: str
    at_s: float
    for_s: float


@dataclass(frozen=True, slots=True)
class ChaosSchedule:
    """Which faults strike when. ``not_run``: faults that the rig has no hand on, each with the reason.

    ``asked``: those that were asked for by name.
    """

    seed: int
    faults: tuple[PlannedFault, ...] = ()
    not_run: Mapping[str, str] = field(default_factory=dict)
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """What became of a planned fault. ``skipped``: why it did not strike; then there are no times but the planned one.

    ``processes``: the pids that it struck; ``gone``: other serving processes that ended meanwhile. ``is_crash``: what
    was not on disk is lost. ``is_relaunched``: the rig launched the service again, which did not come back by itself.
    ``note``: what had to be done besides, to heal it.
    """

    number: int
    fault: str
    planned_at_ns: int
    strike_begun_ns: int = 0
    struck_ns: int = 0
    heal_begun_ns: int = 0
    healed_ns: int = 0
    processes: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()
    is_crash: bool = False
    is_relaunched: bool = False
    note: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What lay open in the target's database at one moment, without the rig's own sessions.

    ``connections`` to the database, those of them at work or ``idle_in_transaction``, and ``waiting`` for a lock.
    ``unread``: why it could not be read.
    """

    connections: int = 0
    active: int = 0
    idle_in_transaction: int = 0
    waiting: int = 0
    unread: str = ""

    def is_like(self, before: Standing) -> bool:
        """Whether no more lies open than before. Idle connections are left out: a pool may have grown to its size."""
        return (
            self.active <= before.active
            and self.idle_in_transaction <= before.idle_in_transaction
            and self.waiting <= before.waiting
        )


@dataclass(frozen=True, slots=True)
class WrongEvent:
    """An event of S11 whose rows are not what they must be: the number of its request, its key, and what is wrong."""

    seq: int
    key: str
    kind: DiscrepancyKind


@dataclass(frozen=True, slots=True)
class RelayCost:
    """What the rig's relay costs on this machine, from ``exchanges`` of a request and its answer.

    ``added_…_ms``: quantiles of how much later an answer comes through it. ``cpu_us``: its CPU time for an exchange.
    """

    added_p50_ms: float
    added_p99_ms: float
    cpu_us: float
    exchanges: int


@dataclass(frozen=True, slots=True)
class ChaosReport:
    """The chaos of a run. ``processes``: how many processes served before the first fault; 0 where nobody knows.

    ``relay``: None where it did not answer.
    """

    schedule: ChaosSchedule
    records: tuple[FaultRecord, ...] = ()
    before: Standing | None = None
    after: Standing | None = None
    processes: int = 0
    relay: RelayCost | None = None
    wrong: tuple[WrongEvent, ...] = ()

    @property
    def struck(self) -> tuple[FaultRecord, ...]:
        """The faults that did strike."""
        return tuple(record for record in self.records if not record.skipped)

    def windows(self, grace_s: float) -> tuple[tuple[int, int], ...]:
        """When attempts are excused: from the strike of each fault until ``grace_s`` after its healing."""
        grace_ns = int(grace_s * 1e9)
        return tuple((record.strike_begun_ns, record.healed_ns + grace_ns) for record in self.struck)

    def describe_moment(self, since_ns: int, until_ns: int) -> str:
        """Which fault was in force within a span, or struck within a second after it, in words; empty for none."""
        for record in reversed(self.struck):
            name = f"{record.fault} (fault {record.number})"
            if record.strike_begun_ns <= until_ns and since_ns <= record.healed_ns:
                return f"{name} was in force"
            if until_ns < record.strike_begun_ns <= until_ns + SOON_NS:
                return f"{(record.strike_begun_ns - until_ns) / 1e6:,.0f} ms before {name} struck"
        return ""
