"""The ruler for real, but short: its books and its arithmetic, not this machine's accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from rig.calibrate.client import CalibratedClient
from rig.calibrate.latency import (
    FULL,
    QUICK,
    CalibrationStep,
    Certification,
    calibrate_latency,
    measured_freeze,
    measured_step,
)
from rig.engine.pool import Pool
from rig.evidence.case import Case
from rig.evidence.latency_calibration import LATENCY_COLUMNS, LatencyCalibration
from rig.evidence.scenario_runs import ScenarioRun
from rig.machine.processes import words
from rig.model import Pace, RequestClass, RunKey, Scenario, Share
from rig.profile import bundled_profile, load_profile
from rig.report.plots.latency_calibration import latency_calibration as latency_calibration_plot
from tests.checks.cases import certificate

MS = 1_000_000
RUN = RunKey(seed=1, run_id="ruler-test", started_unix=1_800_000_000)
SHORT = Certification(False, (CalibrationStep("5ms", 200.0, 0.5), CalibrationStep("churn", 100.0, 0.5)), 0.1)
Certified = tuple[LatencyCalibration, pd.DataFrame, Path, list[str]]


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    folder = tmp_path_factory.mktemp("latency_calibration") / "calibration"
    told: list[str] = []
    with Pool(2) as pool:
        client = CalibratedClient(pool, load_profile(bundled_profile()), RUN, folder, progress=told.append)
        latency_calibration, rows = calibrate_latency(client, SHORT)
    return latency_calibration, rows, folder, told


def test_every_request_is_measured_against_what_was_delivered(certified: Certified) -> None:
    latency_calibration, rows, _, _ = certified
    assert tuple(rows.columns) == LATENCY_COLUMNS
    assert [(step.behaviour, step.requests) for step in latency_calibration.steps] == [("5ms", 100), ("churn", 50)]
    for step in latency_calibration.steps:
        assert (step.unanswered, step.skipped) == (0, 0)
        assert step.client_cpu_us_per_request > 0
    timed = rows[rows["behaviour"] != "freeze"]
    assert (timed["status"] == 200).all()
    least = timed["behaviour"].map({"5ms": 5 * MS, "churn": 1 * MS})
    assert (timed["delivered_ns"] >= least).all()
    # Nothing can be measured shorter than it was.
    assert (timed["done_ns"] - timed["sent_ns"] >= timed["delivered_ns"]).all()
    assert (timed["sent_ns"] >= timed["intended_ns"]).all()


def test_the_freeze_shows_in_the_response_time(certified: Certified) -> None:
    latency_calibration, rows, _, _ = certified
    freeze = latency_calibration.freeze
    assert (freeze.froze_s, freeze.unanswered, freeze.skipped) == (0.1, 0, 0)
    assert freeze.service_max_ms >= 90
    assert freeze.response_p95_ms >= 40
    frozen = rows[rows["behaviour"] == "freeze"]
    assert freeze.requests == len(frozen) == 1000
    assert list(frozen["seq"]) == list(range(1000))


def test_it_leaves_nothing_behind(certified: Certified) -> None:
    _, _, folder, told = certified
    assert not folder.exists()
    assert len(told) == 3
    assert not [child for child in psutil.Process().children() if "stub_server.latency" in " ".join(words(child))]


def test_it_can_be_drawn_from_what_the_pack_keeps(certified: Certified) -> None:
    latency_calibration, rows, _, _ = certified
    figure = latency_calibration_plot(
        Case(certificate=certificate(latency_calibration=latency_calibration), latency_calibration=rows)
    )
    assert figure is not None
    assert len(figure.axes) == 2
    assert latency_calibration_plot(Case(certificate=certificate())) is None
    assert latency_calibration_plot(Case()) is None


# --- arithmetic ---

STEP = CalibrationStep("5ms", 1000.0, 1.0)
PLAN = Scenario(
    "latency_calibration",
    "LatencyCalibration",
    1,
    "stripe",
    ("latency_calibration",),
    (Share(RequestClass.VALID, 4),),
    Pace(1),
)
REPORT = ScenarioRun(PLAN, ())


def rows_of(*requests: tuple[float, float, float, int]) -> pd.DataFrame:
    """(lag, service, delivered, status), milliseconds; a lag below 0 is a skipped request."""
    due_ns = 10**12 + np.arange(len(requests)) * MS
    frame = pd.DataFrame(requests, columns=["lag", "service", "delivered", "status"])
    sent_ns = np.where(frame["lag"] < 0, 0, due_ns + (frame["lag"] * MS).astype(np.int64))
    return pd.DataFrame(
        {
            "intended_ns": due_ns,
            "sent_ns": sent_ns,
            "done_ns": sent_ns + (frame["service"] * MS).astype(np.int64),
            "status": frame["status"],
            "delivered_ns": (frame["delivered"] * MS).astype(np.int64),
        }
    )


def test_errors_are_taken_request_by_request() -> None:
    """Two distributions that are alike hide two errors that are not."""
    found = measured_step(STEP, rows_of((0, 5.0, 10.0, 200), (0, 10.0, 5.0, 200)), REPORT)
    assert found.delivered_p50_ms == found.measured_p50_ms == 5.0
    assert found.error_p50_ms == found.error_max_ms == 5.0
    assert found.exact_share == 0.0


@pytest.mark.parametrize(
    ("service_ms", "delivered_ms", "exact"),
    [(5.29, 5.0, 1.0), (5.31, 5.0, 0.0), (0.29, 0.0, 1.0), (204.0, 200.0, 1.0), (204.1, 200.0, 0.0)],
)
def test_exact_is_0_3_ms_or_2_percent(service_ms: float, delivered_ms: float, exact: float) -> None:
    assert measured_step(STEP, rows_of((0, service_ms, delivered_ms, 200)), REPORT).exact_share == exact


def test_what_was_not_answered_or_not_sent_is_counted_and_not_measured() -> None:
    rows = rows_of((0.5, 5.1, 5.0, 200), (0.1, 1.0, -1e-6, 200), (0.1, 3000.0, -1e-6, 0), (-1, 0, -1e-6, 0))
    found = measured_step(STEP, rows, REPORT)
    assert (found.requests, found.unanswered, found.skipped) == (4, 2, 1)
    assert found.error_max_ms == pytest.approx(0.1)
    assert (found.lag_p50_ms, found.lag_max_ms) == (0.1, 0.5)
    nothing = measured_step(STEP, rows_of((-1, 0, -1e-6, 0)), REPORT)
    assert (nothing.error_p99_ms, nothing.exact_share) == (0.0, 0.0)
    assert nothing.flaw == "0 requests had no answer, 1 were not sent"


def test_a_freeze_is_measured_from_when_requests_were_due() -> None:
    """A thousand requests of 0.1 ms at a thousand a second; for a tenth of them nothing moves."""
    frozen = [(float(100 - n), 0.1, 0.0, 200) for n in range(1, 100)]
    rows = rows_of((0, 100.0, 0.0, 200), *frozen, *[(0.0, 0.1, 0.0, 200)] * 900)
    found = measured_freeze(0.1, rows)
    assert found.response_p95_ms == pytest.approx(50, abs=2)
    assert (found.service_p99_ms, found.service_max_ms) == (0.1, 100.0)
    assert found.flaw == ""


def test_the_forms_hold_what_they_promise() -> None:
    assert sum(step.seconds for step in QUICK.steps) + 10 * QUICK.freeze_s < 8
    assert {step.behaviour for step in FULL.steps} == {"0ms", "1ms", "5ms", "20ms", "100ms", "mix", "churn"}
    assert {step.rate_per_s for step in FULL.steps} == {500.0, 2_000.0, 10_000.0}
    assert FULL.freeze_s == 1.0
