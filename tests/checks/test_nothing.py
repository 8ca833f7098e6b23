"""A gate that expected nothing and saw nothing is never PASS: every gate of the catalogue, without evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, get_type_hints

import pytest

from rig.checks.gates import Kind
from rig.checks.judge import judge
from rig.checks.key_storms.gates import GATES as KEY_STORM_GATES
from rig.checks.race_tests.catalog import RACE_KINDS
from rig.checks.race_tests.matview_refresh import ScheduledRefresh
from rig.checks.race_tests.race_kind import RaceKind
from rig.checks.race_tests.tenant_leak import FailedJobFigures, TamperFigures
from rig.evidence.case import Case
from rig.evidence.chaos import ChaosReport, ChaosSchedule, FaultRecord
from rig.evidence.echoes import Echoes
from rig.evidence.gate import Gate, Verdict
from rig.evidence.key_storm import DatabaseConnections, Fetch, KeyStorm
from rig.evidence.locust_run import LocustRun, MasterAccount
from rig.evidence.shapes import ShapesReport
from rig.evidence.storm import StormReport
from rig.model import FORGED, Forgery, Pace, RequestClass, Share
from rig.selftest.catalog import catalog, kind_of
from tests.checks.cases import SKIPPED, case, driven, group, plan, truth

NOTHING_OF = {int: 0, float: 0.0, str: "", bool: False}
PARTS = {
    "worker": TamperFigures(0, 0, False),
    "failed_jobs": FailedJobFigures(0, 0, 0),
    "scheduled": ScheduledRefresh(False, 0.0),
    "replicas": 2,
}


def no_figures(race: RaceKind[Any]) -> dict[str, Any]:
    """The figures of a race test in which nothing happened: zeros, empty lists; what a profile names was tried."""
    types = get_type_hints(race.figures)
    return {
        each.name: PARTS[each.name]
        if each.name in PARTS
        else None
        if "None" in str(types[each.name])
        else NOTHING_OF.get(types[each.name], [] if "list" in str(types[each.name]) else {})
        for each in fields(race.figures)
    }


def races(**changes: Any) -> tuple[StormReport, ...]:
    return tuple(
        StormReport(
            storm=race.name, case="", figures=no_figures(race) | {k: v for k, v in changes.items() if k in names(race)}
        )
        for race in RACE_KINDS.values()
    )


def names(race: RaceKind[Any]) -> set[str]:
    return {each.name for each in fields(race.figures)}


NO_LOAD = [
    driven(plan(count=0, limit_s=10.0)),
    driven(plan("sustained", count=0, p95_limit_ms=500.0, pace=Pace(1, rate_per_s=10.0))),
    driven(plan("S4", count=0, request_class=RequestClass.PERSONAL)),
    driven(
        plan(
            FORGED,
            count=0,
            shares=(Share(RequestClass.VALID, 0), Share(RequestClass.VALID, 0, forgery=next(iter(Forgery)))),
        )
    ),
]
LOADED_NOTHING = case(
    *NO_LOAD, truth=truth((group(each.report.scenario) for each in NO_LOAD), log_files_scanned=(), copies=0)
)
KEY_STORM = KeyStorm(
    case="random-kids", story="", gates=KEY_STORM_GATES, processes=4, connections=DatabaseConnections(0, 0)
)
LOCUST = LocustRun(
    MasterAccount(client="rig", route="stripe", tenant="A", requests=0, failures=0, workers=(), timeout_s=10.0), ()
)

CAPACITY_STEP = plan("capacity", count=0, p95_limit_ms=500.0, pace=Pace(1, rate_per_s=10.0))
SENT = (Share(RequestClass.VALID, 5),)

EMPTY: dict[str, Case] = {
    "nothing was gathered": Case(),
    "no evidence of a run that sent": replace(LOADED_NOTHING, truth=None, certificate=None),
    "scenarios without requests": LOADED_NOTHING,
    "the same, nothing read": replace(LOADED_NOTHING, truth=truth()),
    "probes that nobody asked": replace(LOADED_NOTHING, profile={"probes": {"health": "/health"}}),
    "correlation ids that nobody sent": replace(
        LOADED_NOTHING, profile={"answers": {"correlation": {"header": "x-id"}}}
    ),
    "a chaos without events": case(driven(plan("S11", count=0)), chaos=ChaosReport(ChaosSchedule(1))),
    "a chaos that sent nothing": case(
        driven(plan("S11", count=5), [SKIPPED] * 5),
        truth=truth([group(plan("S11", count=5), canonical_min=0, canonical=0)]),
        chaos=ChaosReport(ChaosSchedule(1), (FaultRecord(1, "deploy", 1, 1, 2, 3, 4, is_crash=True),), processes=2),
    ),
    "a chaos that nobody wrote down": case(driven(plan("S11", count=5), [SKIPPED] * 5)),
    "answers that nobody gave": replace(LOADED_NOTHING, echoes=Echoes()),
    "shapes of which none was sent": Case(verb="ladder", shapes=ShapesReport(())),
    "a search for the capacity without requests": case(driven(CAPACITY_STEP)),
    "a search for the capacity that sent nothing": case(driven(replace(CAPACITY_STEP, shares=SENT), [SKIPPED] * 5)),
    "a locust run without workers": replace(LOADED_NOTHING, locust_run=LOCUST),
    "race tests in which nothing happened": Case(verb="storm", storms=races()),
    "race tests without members": Case(verb="storm", storms=tuple(replace(each, missing=("all",)) for each in races())),
    "race tests in which a replica was killed": Case(
        verb="storm", storms=races(killed=True, racing=2, commands_expected=1, commands=1)
    ),
    "a key storm in which nobody asked": Case(verb="storm", key_storms=(KEY_STORM,)),
    "a key storm of one fetch that nobody asked for": Case(
        verb="storm",
        key_storms=(replace(KEY_STORM, fetches=(Fetch(0, 1, "200"),), proxy_fetches=(Fetch(0, 1, "200"),)),),
    ),
    "a diagnosis that was asked nothing": Case(verb="prove-diagnosis"),
    "samples of nothing": Case(verb="sample", settings={"samplers": True}),
}
MAY_PASS = {
    "S11.faults": "a fault struck and was healed",
    "accounting": "requests that were skipped were counted",
    "EG3.5": "the same",
    "calibration.null": "the certificate of these cases is a strong one",
    "calibration.ruler": "the same",
    "storm.migration-race.once": "the database was seen to hold what a lone replica makes of it",
    "storm.random-kids.single-flight": "one fetch was seen, and was alone",
    "storm.random-kids.amplification": "one fetch was seen, and is not too many",
    "storm.random-kids.ledger": "one fetch was seen, and was counted twice",
}
"""Gates that saw something in one of the cases, each with what."""


def judged() -> Iterator[tuple[str, Gate]]:
    for name, empty in EMPTY.items():
        yield from ((name, gate) for gate in judge(empty))


@pytest.mark.parametrize("name", EMPTY)
def test_no_gate_passes_that_saw_nothing(name: str) -> None:
    passed = [gate.id for gate in judge(EMPTY[name]) if gate.verdict is Verdict.PASS and gate.id not in MAY_PASS]
    assert passed == []
    assert [gate for gate in judge(EMPTY[name]) if gate.id.startswith("checker.")] == []


UNTOUCHED = {
    "completion": "says only that a run was cut short",
    "checker.*": "says only that a checker crashed",
    "hygiene": "there is no gate without a leak check",
    "samplers.database_cpu": "there is no gate without samples",
    "*.late": "there is no gate without a watch",
    "storm.*": "says only that a storm was not run",
}


def test_the_cases_reach_every_gate_that_can_be_without_evidence() -> None:
    kinds = [entry.kind for entry in catalog()]
    reached = {kind.pattern for _, gate in judged() if (kind := kind_of(gate.id, kinds))}
    missing = {kind.pattern for kind in kinds} - reached - UNTOUCHED.keys()
    assert missing == set(), "add a case to EMPTY in which this gate has nothing to see"


def test_a_gate_about_the_target_blames_nobody_for_nothing() -> None:
    """But the scheduler that the profile names, which was waited for."""
    kinds = [entry.kind for entry in catalog()]
    failed = {
        gate.id
        for _, gate in judged()
        if gate.verdict is Verdict.FAIL and (kind := kind_of(gate.id, kinds)) and kind.kind is not Kind.EXIT
    }
    assert failed == {"storm.matview-refresh.scheduled"}
