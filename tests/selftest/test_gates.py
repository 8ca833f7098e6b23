"""No gate without a defect that turns it red: all gates against the defects of ``rig prove``. Nothing runs.

Whoever adds a gate declares it beside its checker (``rig.checks.gates``), adds a defect that turns it red
(``rig.selftest.defects``, ``rig.selftest.weaknesses``), and makes ``docs/gates.md`` anew.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from rig.checks import judge as judge_module
from rig.checks.gates import Checker, GateKind, Kind, emits
from rig.checks.judge import EXIT_GATES, judge
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.profile import bundled_profile, load_profile
from rig.run.job import Job
from rig.selftest import catalog as catalog_module
from rig.selftest.bench import PlannedRun
from rig.selftest.catalog import catalog, kind_of, page, red_pairs
from rig.selftest.defects import DEFECTS, HEALTHY, HEALTHY_RUNS
from rig.selftest.stages import LADDER, NULL, WHOLE, Defect
from rig.selftest.weaknesses import WEAKNESSES
from rig.settings import Settings
from rig.storms.unknown_kid.subjects import FLAWED
from scenarios.ladder import IDS
from stub_server.service.switches import parse_defects

DOCS = Path(__file__).parents[2] / "docs"
KINDS = tuple(entry.kind for entry in catalog())


def new_checker(*gates: GateKind, emitted: str) -> Checker:
    @emits(*gates)
    def check_weather(case: Case) -> list[Gate]:
        return [Gate(emitted, Verdict.PASS, "the sun shines")]

    return check_weather


def gates_without_defect() -> list[str]:
    """The gates that no defect turns red. Every scenario of the ladder has two, and each of them must be seen red."""
    red = {gate for gate, _ in catalog_module.red_pairs()}
    by_scenario = [f"{scenario}.{gate}" for gate in ("rows", "answers") for scenario in IDS]
    return [entry.kind.pattern for entry in catalog() if not entry.defects] + sorted({*by_scenario} - red)


def test_every_gate_is_red_under_some_defect() -> None:
    assert gates_without_defect() == []
    assert len(set(red_pairs())) >= 35


def test_a_gate_that_nothing_turns_red_cannot_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    weather = new_checker(GateKind("weather", Kind.INSTRUMENT, "the sun shines"), emitted="weather")
    monkeypatch.setattr(judge_module, "LOAD", (*judge_module.LOAD, weather))
    assert gates_without_defect() == ["weather"]


def test_a_defect_that_is_taken_away_leaves_its_gate_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    without = tuple(defect for defect in DEFECTS if defect.name not in ("slow-and-cut-off", "invalid-json-dropped"))
    monkeypatch.setattr(catalog_module, "red_pairs", lambda: red_pairs((*without, *WEAKNESSES)))
    assert set(gates_without_defect()) == {"*.rate"}
    without = tuple(defect for defect in without if defect.name != "truth-unread")
    assert set(gates_without_defect()) == {"*.rate", "S7.rows"}


@pytest.mark.parametrize("emitted", ["weather.tomorrow", "S1.rows"])
def test_what_a_checker_does_not_declare_makes_the_run_invalid(monkeypatch: pytest.MonkeyPatch, emitted: str) -> None:
    weather = new_checker(GateKind("weather", Kind.INSTRUMENT, "the sun shines"), emitted=emitted)
    monkeypatch.setattr(judge_module, "STORMS", (*judge_module.STORMS, weather))
    gates = {gate.id: gate for gate in judge(Case(verb="storm"))}
    assert gates[emitted].verdict is Verdict.PASS
    assert gates["checker.weather"].verdict is Verdict.INVALID
    assert emitted in gates["checker.weather"].reason


def test_patterns() -> None:
    rows = GateKind("*.rows", Kind.TRUTH, "")
    assert rows.of("S1") == "S1.rows"
    assert rows.covers("warm-up.rows")
    assert not rows.covers("storm.x.rows")
    assert not rows.covers("S1.rowsy")
    assert not GateKind("storm.*", Kind.STORM, "").covers("storm.cold-start.floor")
    for gate, pattern in (("privacy.rows", "privacy.rows"), ("S4.rows", "*.rows"), ("storm.pooler", "storm.*")):
        kind = kind_of(gate, KINDS)
        assert kind is not None
        assert kind.pattern == pattern


def test_every_cell_is_of_a_gate_that_exists_and_can_have_that_verdict() -> None:
    for one in (*HEALTHY_RUNS, *DEFECTS, *WEAKNESSES):
        for gate, expected in one.cells().items():
            kind = kind_of(gate, KINDS)
            assert kind is not None, (one.name, gate)
            red = (Verdict.INVALID, Verdict.NOT_RUN if kind.kind is Kind.INSTRUMENT else Verdict.FAIL)
            assert expected in (Verdict.PASS, *red), (one.name, gate)


def test_a_defect_turns_something_red_and_leaves_what_is_unrelated_green() -> None:
    for defect in DEFECTS:
        healthy = next(one for one in HEALTHY_RUNS if one.stage.name == defect.stage.healthy)
        counts = Counter(expected is Verdict.PASS for expected in defect.cells(healthy.green).values())
        assert counts[False], defect.name
        # The null benchmark has but one gate, and of a locust run's two one may turn either way.
        assert counts[True] or defect.stage is NULL or defect.open == ("locust.totals",), defect.name


def test_the_healthy_run_has_every_gate_of_the_ladder_green() -> None:
    assert set(HEALTHY.cells().values()) == {Verdict.PASS}
    scenarios = {f"{scenario}.{what}" for scenario in (*IDS, "sustained") for what in ("rows", "answers")}
    others = {"totals", "duplicates", "accounting", "probes", "hygiene", "privacy.rows", "privacy.logs", "S8.time"}
    others |= {"calibration.null", "calibration.ruler", "samplers", "samplers.database_cpu", "littles_law"}
    others |= {"sustained.rate", "sustained.p95", "sustained.degradation"}
    others |= {f"{scenario}.late" for scenario in ("S1", "S2", "S5", "S6", "S8", "S9", "warm-up")}
    assert set(HEALTHY.green) >= scenarios | others | {gate.id for gate in EXIT_GATES}


def test_a_gate_that_is_green_in_the_healthy_run_must_stay_green_under_a_defect() -> None:
    slow = Defect("d", LADDER, red=("S8.time",), open=("S6.*",))
    assert slow.cells(["weather", "S8.time", "S6.rows", "sustained.rows", "EG3.4"]) == {
        "S8.time": Verdict.FAIL,
        "weather": Verdict.PASS,
    }
    assert Defect("d", WHOLE, green=("S1.rows",)).cells(["weather"]) == dict.fromkeys(
        ("weather", "S1.rows"), Verdict.PASS
    )


def test_exit_gates_are_left_out_where_a_member_is_touched() -> None:
    cells = Defect("d", WHOLE, red=("S5.rows",)).cells(HEALTHY.green)
    assert "EG3.2" not in cells
    assert cells["EG3.1"] is cells["EG3.4"] is Verdict.PASS


def test_defects_are_ones_that_somebody_can_make() -> None:
    path = bundled_profile()
    job, nobody = Job("run", (), Settings(), load_profile(path), path.parent), cast("Any", None)
    switches = [defect for defect in DEFECTS if defect.stage is LADDER or defect.name.startswith("slow-")]
    assert len(switches) >= 15
    for defect in switches:
        run = PlannedRun(job, nobody, nobody, nobody, nobody, nobody)
        with defect.apply(run):
            assert parse_defects(run.job.settings.defects), defect.name
    assert {weakness.subject for weakness in WEAKNESSES if weakness.subject.startswith("flawed-")} == set(FLAWED)
    names = [one.name for one in (*HEALTHY_RUNS, *DEFECTS, *WEAKNESSES)]
    assert len(set(names)) == len(names)


def test_the_page_is_current() -> None:
    assert (DOCS / "gates.md").read_text() == page(), "make it anew: python -m rig.selftest.catalog > docs/gates.md"
