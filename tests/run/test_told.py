"""What a run says of single events and of storms while it goes on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from rig.checks.race_tests.catalog import gates_of
from rig.evidence.gate import Gate, Verdict
from rig.evidence.shapes import ShapeOutcome
from rig.evidence.storm import StormReport
from rig.profile import bundled_profile, load_profile
from rig.requests.sender import made_up
from rig.requests.shape_values import control_of
from rig.requests.shaped import ShapedRoute
from rig.requests.shapes import Change
from rig.requests.targeter import Targeter
from rig.run import shape_session, storms
from rig.run.reporter import Reporter
from rig.run.shape_session import ShapeSession
from rig.storms.environment import StormOptions
from rig.target.http_probe import ProbeResponse
from rig.truth.shaped_rows import RowsOfEvent
from scenarios.s10 import shapes
from tests.checks.test_race_tests import FIGURES
from tests.engine.scenes import RUN

PROFILE = load_profile(bundled_profile())


def session_of(statuses: tuple[int, ...], found: list[RowsOfEvent], progress: list[int]) -> tuple[ShapeSession, Change]:
    """Events that are answered so, and have these rows; and a change for them."""
    scenario = shapes(PROFILE.routes[0].name, ("A",), 9)
    credentials = replace(made_up(PROFILE, "A"), tenant="A")
    targets = Targeter(PROFILE, RUN).bind(scenario, {"A": credentials})
    route, answers = ShapedRoute(PROFILE, targets, credentials), iter(statuses)
    probe: Any = SimpleNamespace(send=lambda request: ProbeResponse(next(answers)))
    rows: Any = SimpleNamespace(look=lambda requests: found, has_uuid_keys=False)
    return ShapeSession(PROFILE, route, scenario, probe, rows, progress.append), control_of(route.fields[0])


@pytest.mark.parametrize(("rows", "outcome"), [(0, ShapeOutcome.REFUSED), (1, ShapeOutcome.KEPT)])
def test_an_event_that_is_refused_has_no_row(rows: int, outcome: ShapeOutcome) -> None:
    session, change = session_of((422,), [RowsOfEvent(rows, 0)], [])
    (tried,) = session.try_all([(change,)])
    assert (tried.outcome, tried.has_failed) == (outcome, bool(rows))
    assert dict(session.failures) == ({"row though refused": 1} if rows else {})


def test_a_shaped_event_that_fails_is_seen_as_soon_as_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is answered 500; of the others, the first has its row and the third has none."""
    monkeypatch.setattr(shape_session, "WAIT_S", 0.0)
    progress = list[int]()
    session, change = session_of((204, 500, 204), [RowsOfEvent(1, 0), RowsOfEvent(0, 0)], progress)
    assert session.p95_ms is None
    tried = session.try_all([(), (change,), (change,)])
    assert [each.kind for each in session.look()] == ["status 500", "no row"]
    assert dict(session.failures) == {"status 500": 1, "no row": 1}
    assert session.look() == []
    assert progress[:3] == [1, 2, 3]
    assert len(session.response_ms) == len(tried) == 3


@pytest.mark.parametrize("changes", [{}, {"differences": ["a table"]}])
def test_a_gate_of_a_storm_that_failed_is_told_when_its_case_ends(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    name = "migration-race"
    report = StormReport(storm=name, case=name, processes=8, figures=FIGURES[name] | changes)
    monkeypatch.setattr(storms, "run_storm", lambda *_: iter([report]))
    failed = [gate.id for gate in gates_of(report) if gate.verdict is Verdict.FAIL]
    told: list[str] = []

    class Listening(Reporter):
        def tell_gate(self, gate: Gate) -> None:
            told.append(gate.id)

    record = SimpleNamespace(pack=SimpleNamespace(write_storm=lambda report: None))
    opened: Any = SimpleNamespace(record=record, reporter=Listening(), storm_environment=lambda cluster: None)
    cluster: Any = None
    assert list(storms.run_storm_step(opened, cluster, name, StormOptions())) == [report]
    assert told == failed
    assert bool(told) is bool(changes)
