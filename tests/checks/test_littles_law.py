"""littles_law: the workers' samples against the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rig.checks.littles_law import check_littles_law, mean_in_system
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.model import Pace
from tests.checks.cases import SKIPPED, case, driven, plan

PASS, INVALID, NOT_RUN = Verdict.PASS, Verdict.INVALID, Verdict.NOT_RUN
COUNT, TOOK_S, RESPONSE_MS = 1000, 10.0, 400.0
SCENE = plan("sustained", COUNT, pace=Pace(100, rate_per_s=100.0))
"""100/s at 400 ms each: forty in the system."""


def gate(in_system: float, **how: Any) -> Gate:
    how = {
        "took_s": TOOK_S,
        "response_ms": [RESPONSE_MS] * COUNT,
        "in_system_mean": in_system,
        "in_system_samples": 200,
        **how,
    }
    (found,) = check_littles_law(case(driven(SCENE, **how)))
    assert found.id == "littles_law"
    return found


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (gate(40.0), PASS),
        # A quarter and two requests are what sampling may be off by.
        (gate(29.0), PASS),
        (gate(55.0), PASS),
        (gate(20.0), INVALID),
        (gate(60.0), INVALID),
        # Twenty more waited all the time and were never sent.
        (gate(60.0, unsent_waited_s=200.0), PASS),
        (gate(40.0, unsent_waited_s=200.0), INVALID),
        (gate(0.0), INVALID),
        # Rows that say a request took no time: the workers saw forty waiting.
        (gate(40.0, response_ms=[0.0] * COUNT), INVALID),
        # Half of the rows are gone.
        (gate(40.0, endings=[SKIPPED] * 500), INVALID),
        # A machine may be so fast that a second is all there is: twenty samples tell.
        (gate(400.0, took_s=1.0, in_system_samples=20), PASS),
        (gate(800.0, took_s=1.0, in_system_samples=20), INVALID),
        # With fewer samples, or without a report, nothing is said.
        (gate(0.0, took_s=1.0, in_system_samples=19), NOT_RUN),
        (gate(0.0, reported=False), NOT_RUN),
        (gate(0.0, interrupted=True), NOT_RUN),
        # A worker that hardly looked saw nothing, right or wrong.
        (gate(0.0, in_system_samples=0), NOT_RUN),
    ],
)
def test_the_law(found: Gate, verdict: Verdict) -> None:
    assert found.verdict is verdict
    assert bool(found.reason) == (verdict is not PASS)


def test_both_sides_and_the_clients_own_cost_are_in_every_pack() -> None:
    made = driven(SCENE, took_s=TOOK_S, response_ms=[RESPONSE_MS] * COUNT, in_system_mean=39.0,
                  in_system_samples=200, wall_s=10.0,
                  rss_start_bytes=50 << 20, rss_end_bytes=53 << 20, max_rss_bytes=60 << 20)  # fmt: skip
    both = mean_in_system(made.report, made.rows)
    assert (both.sampled, both.computed) == (39.0, pytest.approx(40.0))
    (found,) = check_littles_law(case(made))
    assert found.figures["in_system"] == {made.report.scenario.label: (39.0, 40.0)}
    assert found.figures["client_cpu_us_per_request"] == 300.0
    assert found.figures["worker_utilisation_max"] == 0.03
    assert (found.figures["worker_rss_max_mib"], found.figures["worker_rss_growth_max_mib"]) == (60, 3.0)


def test_a_worker_that_ended_earlier_has_none_in_the_system_from_then_on() -> None:
    made = driven(SCENE, took_s=TOOK_S, response_ms=[RESPONSE_MS] * COUNT, in_system_mean=30.0)
    (worker,) = made.report.present
    half_ns = (worker.last_done_ns - worker.first_sent_ns) // 2
    earlier = replace(worker, worker=1, in_system_mean=20.0, last_done_ns=worker.first_sent_ns + half_ns)
    both = mean_in_system(replace(made.report, workers=(worker, earlier)), made.rows)
    assert (both.sampled, both.computed) == (pytest.approx(40.0), pytest.approx(40.0))


def test_without_scenario_runs_nothing_is_said() -> None:
    assert check_littles_law(Case()) == []
