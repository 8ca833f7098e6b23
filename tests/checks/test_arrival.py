"""*.late: rows that came after their answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rig.checks.arrival import check_arrival
from rig.evidence.case import Case
from rig.evidence.gate import Verdict
from rig.evidence.truth import Arrival
from tests.checks.cases import case, driven, group, plan, truth

QUEUED = {"truth": {"arrival": {"within_s": 60}}}


def arrived(**changes: Any) -> Arrival:
    seen = Arrival("S2-10-stripe-1", "S2", 10, 0, 0, 0.0, 0.0, 0.0, 21.0)
    return replace(seen, **changes)


def of(*arrivals: Arrival, profile: dict[str, Any] | None = None, lost: int = 0) -> Case:
    rows = replace(group(plan()), canonical=10 - lost, scenario_run="S2-10-stripe-1")
    return case(driven(plan()), truth=truth([rows], arrivals=arrivals), profile=profile or {})


@pytest.mark.parametrize(
    ("evidence", "verdict", "reason"),
    [
        (of(arrived()), Verdict.PASS, ""),
        (of(arrived(late=1, late_keys=("k",))), Verdict.FAIL, "1 of 10 rows came after their answer"),
        (of(arrived(), arrived(late=2)), Verdict.FAIL, "2 of 20 rows"),
        # A lost row is no late one: S2.rows is about it.
        (of(arrived(missing=1), lost=1), Verdict.PASS, ""),
        # One that is there in the end and was not while it was watched came later than any.
        (of(arrived(missing=1)), Verdict.FAIL, "1 of 10 rows came after their answer"),
        (of(arrived(missing=3), lost=1), Verdict.FAIL, "2 of 10 rows"),
        # The database went away in the end: what was late by then was late.
        (of(arrived(late=2, unwatched="the database could not be asked")), Verdict.FAIL, "2 of 10 rows"),
        (of(arrived(missing=2, unwatched="the database could not be asked")), Verdict.NOT_RUN, "be asked"),
        (of(arrived(watched=0)), Verdict.NOT_RUN, "no acknowledged request"),
        (of(arrived(late=9), profile=QUEUED), Verdict.NOT_RUN, "[truth.arrival]"),
        (of(arrived(watched=0, unwatched="the truth DSN is a standby")), Verdict.NOT_RUN, "standby"),
    ],
)
def test_late(evidence: Case, verdict: Verdict, reason: str) -> None:
    (gate,) = check_arrival(evidence)
    assert (gate.id, gate.verdict) == ("S2.late", verdict)
    assert reason in gate.reason


def test_where_nobody_watched_there_is_no_gate() -> None:
    assert check_arrival(of()) == []
