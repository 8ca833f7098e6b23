"""All storms and their protections by name, and the checker of the race tests. It imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rig.checks.gates import GateKind, Kind, emits
from rig.checks.race_tests.matview_refresh import MATVIEW_REFRESH
from rig.checks.race_tests.migration_race import MIGRATION_RACE
from rig.checks.race_tests.race_kind import RaceKind
from rig.checks.race_tests.rate_limit import RATE_LIMIT
from rig.checks.race_tests.scheduler_claim import SCHEDULER_CLAIM
from rig.checks.race_tests.tenant_leak import TENANT_LEAK
from rig.errors import UsageError
from rig.evidence.gate import Gate, Verdict
from rig.evidence.storm import UNKNOWN_KID, StormReport

if TYPE_CHECKING:
    from rig.evidence.case import Case

_RACE_TESTS: tuple[RaceKind[Any], ...] = (MIGRATION_RACE, SCHEDULER_CLAIM, RATE_LIMIT, MATVIEW_REFRESH, TENANT_LEAK)
RACE_KINDS: Mapping[str, RaceKind[Any]] = {race.name: race for race in _RACE_TESTS}
"""All race tests, in the order in which they are named to the user."""
RACE_TESTS = tuple(RACE_KINDS)
STORMS = (UNKNOWN_KID, *RACE_TESTS)

PROTECTIONS: Mapping[str, tuple[str, ...]] = {
    UNKNOWN_KID: (
        "single-flight",
        "cold-start",
        "cool-down",
        "cool-down-from-end",
        "backoff",
        "jitter",
        "follower-bound",
        "lock-scope",
        "one-connection",
    ),
    **{name: tuple(race.protections) for name, race in RACE_KINDS.items()},
}
"""What can be switched off in the reference implementation of each storm."""
OLD_PROTECTIONS = {"floor": "cool-down", "floor-from-end": "cool-down-from-end"}
"""Names of protections that are accepted until the next release, and what each is called now."""

RAN = GateKind("storm.*", Kind.STORM, "the storm was run")


def require_protections(storm: str, without: tuple[str, ...]) -> None:
    """UsageError where ``without`` names no protection of the reference implementation of ``storm``."""
    known = PROTECTIONS[storm]
    for name in without:
        if name not in known:
            raise UsageError(f"--without {name}: {storm} has the protections {', '.join(known)}")


def not_run_gate(report: StormReport) -> Gate:
    """The one gate of a storm that was not run: INVALID where it was asked for."""
    verdict = Verdict.INVALID if report.asked else Verdict.NOT_RUN
    return Gate(RAN.of(report.storm), verdict, RAN.rule, reason=report.not_run)


@emits(RAN, *(kind for race in _RACE_TESTS for kind in race.gate_kinds.values()))
def check_race_tests(case: Case) -> list[Gate]:
    """The gates of every race test of the run."""
    judged = [report for report in case.storms if report.storm in RACE_TESTS and not report.display_only]
    return [gate for report in judged for gate in gates_of(report)]


def gates_of(report: StormReport) -> list[Gate]:
    """The gates of one report."""
    return [not_run_gate(report)] if report.not_run else RACE_KINDS[report.storm].gates_of(report)
