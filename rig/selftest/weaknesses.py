"""What each protection is for: switched off, it must turn its own gates red and leave the others green; and so must
each mistake of a flawed verifier.

Pure: the list that ``rig prove --storms`` runs (``rig.selftest.storms``) and that tests hold against the protections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rig.checks.race_tests import KINDS
from rig.evidence.gate import Verdict
from rig.evidence.storm import MATVIEW_REFRESH, MIGRATION_RACE, RATE_LIMIT, SCHEDULER_CLAIM, TENANT_LEAK, UNKNOWN_KID
from rig.storms.unknown_kid.cases import CASES

GATES: Mapping[str, tuple[str, ...]] = {
    **{name: build(None).gates for name, build in CASES.items()},
    **{storm: tuple(gates) for storm, gates in KINDS.items()},
}
"""The gates of each case, without the ``storm.<case>.`` before them."""


@dataclass(frozen=True, slots=True)
class Weakness:
    """A case stormed without some protections, the gates that must turn red and those that may turn either way.

    All others of the case must stay green. Without any protection taken away it is the healthy run. ``subject`` is
    stormed instead of the reference (a flawed verifier). ``impossible`` is a case that its subject leaves no way to
    try: as it was asked for, that makes the evidence INVALID.
    """

    storm: str
    without: tuple[str, ...] = ()
    red: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    case: str = ""
    processes: int | None = None
    subject: str = ""
    impossible: bool = False

    @property
    def name(self) -> str:
        """What the proof's table calls it."""
        case = self.case or self.storm
        if self.subject:
            return f"{case} of {self.subject}"
        return f"{case} without {' and '.join(self.without)}" if self.without else f"{case} healthy"

    def cells(self) -> dict[str, Verdict]:
        """Expected verdict of every declared gate, by its id."""
        case = self.case or self.storm
        if self.impossible:
            return {f"storm.{case}": Verdict.INVALID}
        return {
            f"storm.{case}.{gate}": Verdict.FAIL if gate in self.red else Verdict.PASS
            for gate in GATES[case]
            if gate not in self.open
        }


_KEY_IDS = 8
"""Processes of the key storms here: enough to race, and half the start-up time of the default."""


def _kid(case: str, *without: str, red: tuple[str, ...] = (), open_: tuple[str, ...] = ()) -> Weakness:
    return Weakness(UNKNOWN_KID, without, red, open_, case, _KEY_IDS)


def _flawed(case: str, flaw: str, *red: str, processes: int = _KEY_IDS) -> Weakness:
    return Weakness(UNKNOWN_KID, (), red, (), case, processes, f"flawed-{flaw}")


WEAKNESSES = (
    _kid("random-kids"),
    # All fetch at once: that is also more than one a floor, and no gap between them.
    _kid("random-kids", "single-flight", red=("single-flight", "floor", "amplification")),
    _kid("random-kids", "one-connection", red=("connections",)),
    _flawed("random-kids", "believing", "false-accepts"),
    _flawed("random-kids", "tripping", "known-kids"),
    _flawed("random-kids", "hanging-up", "ledger"),
    _kid("cold-start"),
    _kid("cold-start", "cold-start", red=("single-flight", "floor", "amplification")),
    _kid("flood"),
    _kid("flood", "floor", red=("floor", "amplification")),
    _kid("slow-floor"),
    # Fetches that leave no gap are more than fit; how many more, the length of the storm decides.
    _kid("slow-floor", "floor-from-end", red=("floor",), open_=("amplification",)),
    _kid("failing-cached"),
    # A wait that does not grow is no schedule, and its stretch over one is whatever it is.
    _kid("failing-cached", "backoff", red=("backoff",), open_=("jitter",)),
    _kid("failing-cached", "jitter", red=("jitter",)),
    # Each of a few processes gives up after its own failure: soon nobody is left to see the origin return.
    _flawed("failing-cached", "giving-up", "recovery", processes=4),
    _kid("rotation-inside"),
    _flawed("rotation-inside", "remembering", "rotation"),
    _kid("slow-patience"),
    _kid("slow-patience", "follower-bound", red=("follower-wait",)),
    _kid("leader-stopped"),
    _kid("leader-stopped", "lock-scope", red=("takeover",)),
    # Keys that are not shared through the database: there is nothing that a pooler could stand before.
    Weakness(UNKNOWN_KID, case="pooler", subject="pyjwt", impossible=True),
    Weakness(MIGRATION_RACE),
    # Who loses the race is rolled back whole: the database is right, the replica is not.
    Weakness(MIGRATION_RACE, ("lock",), red=("exit",)),
    Weakness(MIGRATION_RACE, ("ledger",), red=("once", "second-run")),
    Weakness(SCHEDULER_CLAIM),
    Weakness(SCHEDULER_CLAIM, ("claim",), red=("once",)),
    Weakness(SCHEDULER_CLAIM, ("lease",), red=("all",)),
    Weakness(RATE_LIMIT),
    Weakness(RATE_LIMIT, ("shared",), red=("scope",)),
    Weakness(MATVIEW_REFRESH),
    Weakness(MATVIEW_REFRESH, ("lock",), red=("single", "skip")),
    Weakness(MATVIEW_REFRESH, ("skip",), red=("skip",)),
    Weakness(MATVIEW_REFRESH, ("concurrently",), red=("readers",)),
    Weakness(MATVIEW_REFRESH, ("tenant-scope",), red=("happens",)),
    Weakness(MATVIEW_REFRESH, ("scheduler",), red=("scheduled",)),
    Weakness(TENANT_LEAK),
    Weakness(TENANT_LEAK, ("transaction-scope",), red=("visible",)),
    Weakness(TENANT_LEAK, ("row-security",), red=("visible",)),
    Weakness(TENANT_LEAK, ("own-rows",), red=("own",)),
    Weakness(TENANT_LEAK, ("worker-guard",), red=("worker",)),
    Weakness(TENANT_LEAK, ("dead-letters",), red=("dead-letters",)),
)
"""In the order they are run; the healthy one of a case before its weaknesses."""
