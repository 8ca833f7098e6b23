"""Compares measured latency with known latency: this certifies every figure in milliseconds.

Flow: a stub with known delays runs in a process of its own. The engine sends it requests at several rates, with the
same workers and timers as in a run. The stub reports the delay that it really made, and the engine keeps it for each
request (``rig.engine.instrumented``). In a last scenario run the stub freezes for a tenth of the time. The figures go
into a ``LatencyCalibration`` and the rows into the pack, so that both can be checked again. The quick form is part of
every run; the full one is ``rig calibrate --full``. Not for the client's rate (``rig.calibrate.null``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rig.calibrate.client import CalibratedClient
from rig.calibrate.stub import Stub, latency_stub
from rig.engine.instrumented import DELIVERED, InstrumentedOpenLoop, delivered_file
from rig.engine.pool import Load
from rig.evidence.latency_calibration import (
    FREEZE_SHARE,
    LATENCY_COLUMNS,
    TOLERANCE_MS,
    TOLERANCE_SHARE,
    Freeze,
    LatencyCalibration,
    LatencyStep,
)
from rig.evidence.scenario_runs import RESULT, ScenarioRun
from rig.model import Pace, RequestClass, Scenario, Share
from rig.requests.sender import made_up
from rig.stats import quantile

_TENANT = "latency_calibration"
_MS = 1e6
_FREEZE_RATE_PER_S = 1_000.0
_FREEZE_CONNECTIONS = 8
"""So few that less than one request in a hundred is in flight when the stub freezes, even in a short scenario run."""
_MOST_CONNECTIONS = 500
_SPARE_CONNECTIONS = 50
_DELAYS_MS = {"0ms": 0, "1ms": 1, "5ms": 5, "20ms": 20, "100ms": 100, "mix": 9, "churn": 1}
"""Mean delay of each behaviour of ``stub_server.latency``."""


@dataclass(frozen=True, slots=True)
class CalibrationStep:
    """One behaviour of the stub at one rate."""

    behaviour: str
    rate_per_s: float
    seconds: float

    @property
    def connections(self) -> int:
        """Twice the mean number of requests in flight, and some to spare."""
        return _SPARE_CONNECTIONS + round(2 * self.rate_per_s * _DELAYS_MS[self.behaviour] / 1e3)


@dataclass(frozen=True, slots=True)
class Certification:
    """How thorough the certification is."""

    full: bool
    steps: tuple[CalibrationStep, ...]
    freeze_s: float


def _full_steps() -> Iterable[CalibrationStep]:
    for rate_per_s in (500.0, 2_000.0, 10_000.0):
        for behaviour in _DELAYS_MS:
            step = CalibrationStep(behaviour, rate_per_s, 3.0)
            # Each request of the churn takes a new connection; ten thousand a second would use up the ports.
            if step.connections <= _MOST_CONNECTIONS and (behaviour != "churn" or rate_per_s <= 500):
                yield step


QUICK = Certification(
    False,
    (CalibrationStep("1ms", 500.0, 0.8), CalibrationStep("mix", 2_000.0, 0.8), CalibrationStep("5ms", 5_000.0, 0.6)),
    0.2,
)
"""Under six seconds in all; 400 requests are enough for a p99."""
FULL = Certification(True, tuple(_full_steps()), 1.0)
"""About a minute."""


def calibrate_latency(client: CalibratedClient, form: Certification) -> tuple[LatencyCalibration, pd.DataFrame]:
    """Run every step; the certificate and its rows (``LATENCY_COLUMNS``)."""
    bench = LatencyBench(client)
    with client.open_folder("latency calibration"), latency_stub(cores=client.stub_cores) as stub:
        measured = []
        for number, step in enumerate(form.steps, 1):
            rate = f"{step.rate_per_s:,.0f}/s"
            client.progress(f"latency calibration: {step.behaviour} at {rate} ({number} of {len(form.steps)})")
            measured.append((step, *bench.run_scenario(stub, number, step.behaviour, step, step.connections)))
        client.progress(f"latency calibration: a freeze of {form.freeze_s:g} s")
        frozen = bench.freeze(stub, len(form.steps) + 1, form.freeze_s)
    latency_calibration = LatencyCalibration(
        full=form.full,
        steps=tuple(measured_step(step, rows, report) for step, rows, report in measured),
        freeze=measured_freeze(form.freeze_s, frozen),
    )
    return latency_calibration, pd.concat([*(rows for _, rows, _ in measured), frozen], ignore_index=True)


def measured_step(step: CalibrationStep, rows: pd.DataFrame, report: ScenarioRun) -> LatencyStep:
    """The figures of a step whose rows are given. Pure."""
    answered = rows[(rows["status"] == 200) & (rows["delivered_ns"] >= 0)]
    sent = rows[rows["sent_ns"] > 0]
    delivered_ms = answered["delivered_ns"].to_numpy(np.int64) / _MS
    measured_ms = (answered["done_ns"] - answered["sent_ns"]).to_numpy(np.int64) / _MS
    error_ms = np.abs(measured_ms - delivered_ms)
    # For an answer without delay there is no relative error.
    waited = delivered_ms >= 1
    relative = error_ms[waited] / delivered_ms[waited] if waited.any() else np.zeros(1)
    allowed_ms = np.maximum(TOLERANCE_MS, TOLERANCE_SHARE * delivered_ms)
    lag_ms = (sent["sent_ns"] - sent["intended_ns"]).to_numpy(np.int64) / _MS
    return LatencyStep(
        behaviour=step.behaviour,
        rate_per_s=step.rate_per_s,
        requests=len(rows),
        unanswered=len(sent) - len(answered),
        skipped=len(rows) - len(sent),
        delivered_p50_ms=_quantile(delivered_ms, 0.5),
        delivered_p99_ms=_quantile(delivered_ms, 0.99),
        measured_p50_ms=_quantile(measured_ms, 0.5),
        measured_p99_ms=_quantile(measured_ms, 0.99),
        error_p50_ms=_quantile(error_ms, 0.5),
        error_p99_ms=_quantile(error_ms, 0.99),
        error_max_ms=_quantile(error_ms, 1.0),
        relative_p50=_quantile(relative, 0.5),
        relative_p99=_quantile(relative, 0.99),
        exact_share=float((error_ms <= allowed_ms).mean()) if len(error_ms) else 0.0,
        lag_p50_ms=_quantile(lag_ms, 0.5),
        lag_p99_ms=_quantile(lag_ms, 0.99),
        lag_max_ms=_quantile(lag_ms, 1.0),
        client_cpu_us_per_request=round(report.cpu_us_per_request, 2),
        worker_utilisation=round(max((worker.utilisation for worker in report.present), default=0.0), 3),
    )


def measured_freeze(froze_s: float, rows: pd.DataFrame) -> Freeze:
    """The figures of the scenario run in which the stub froze. Pure."""
    sent = rows[rows["sent_ns"] > 0]
    answered = sent[sent["status"] == 200]
    response_ms = (answered["done_ns"] - answered["intended_ns"]).to_numpy(np.int64) / _MS
    service_ms = (answered["done_ns"] - answered["sent_ns"]).to_numpy(np.int64) / _MS
    return Freeze(
        rate_per_s=_FREEZE_RATE_PER_S,
        froze_s=froze_s,
        requests=len(rows),
        unanswered=len(sent) - len(answered),
        skipped=len(rows) - len(sent),
        response_p95_ms=_quantile(response_ms, 0.95),
        response_max_ms=_quantile(response_ms, 1.0),
        service_p99_ms=_quantile(service_ms, 0.99),
        service_max_ms=_quantile(service_ms, 1.0),
    )


class LatencyBench:
    """Sends requests to a stub with known delays."""

    def __init__(self, client: CalibratedClient) -> None:
        self._client = client
        self._profile = client.profile.for_stub()
        self._credentials = {_TENANT: made_up(client.profile, "latency_calibration")}

    def freeze(self, stub: Stub, number: int, froze_s: float) -> pd.DataFrame:
        """The rows of a scenario run in which the stub freezes in the middle, for a tenth of the time."""
        seconds = froze_s / FREEZE_SHARE
        behaviour = f"freeze-{0.4 * seconds * 1e3:.0f}-{froze_s * 1e3:.0f}"
        step = CalibrationStep("freeze", _FREEZE_RATE_PER_S, seconds)
        rows, _ = self.run_scenario(stub, number, behaviour, step, _FREEZE_CONNECTIONS)
        return rows

    def run_scenario(
        self, stub: Stub, number: int, behaviour: str, step: CalibrationStep, connections: int
    ) -> tuple[pd.DataFrame, ScenarioRun]:
        """Run a step; its rows and the report. EvidenceError when a worker gave no report."""
        count = round(step.rate_per_s * step.seconds)
        scenario = Scenario(
            id="latency_calibration",
            title="LatencyCalibration",
            step=number,
            route=self._profile.routes[0].name,
            tenants=(_TENANT,),
            shares=(Share(RequestClass.VALID, count),),
            pace=Pace(connections, step.rate_per_s),
            deadline_s=3 * step.seconds + 5,
        )
        load = Load(
            scenario,
            self._profile,
            self._client.run,
            self._credentials,
            replace(stub.endpoint, base_path=f"/{behaviour}"),
            lambda worker: self._rows_file(number, worker),
            InstrumentedOpenLoop,
        )
        report = self._client.send(load, "latency calibration")
        rows = pd.concat([_rows(self._rows_file(number, worker)) for worker in range(self._client.pool.size)])
        rows.insert(0, "rate_per_s", step.rate_per_s)
        rows.insert(0, "behaviour", step.behaviour)
        rows.insert(0, "step", number)
        return rows[list(LATENCY_COLUMNS)].sort_values("seq", ignore_index=True), report

    def _rows_file(self, number: int, worker: int) -> Path:
        return self._client.folder / f"{number}.{worker}.rows"


def _rows(rows_file: Path) -> pd.DataFrame:
    """A worker's results, each with the delay that the stub reported."""
    results = np.fromfile(rows_file, dtype=RESULT)
    said = np.fromfile(delivered_file(rows_file), dtype=DELIVERED)
    frame = pd.DataFrame({name: results[name] for name in ("seq", "intended_ns", "sent_ns", "done_ns", "status")})
    delivered = pd.Series(said["delivered_ns"], index=said["seq"])
    frame["delivered_ns"] = frame["seq"].map(delivered).fillna(-1).astype(np.int64)
    return frame


def _quantile(values: NDArray[np.float64], share: float) -> float:
    """A quantile in milliseconds, rounded to the microsecond; 0 where there are no values."""
    return round(quantile(values, share), 3) if len(values) else 0.0
