"""What a checker reads: the evidence of one run, whole and frozen.

Flow: ``rig.evidence.pack`` loads a folder into a ``Case``; pure checkers turn the case into gates; plots and reports
draw it. A case is the same whether the run ended a second or a year ago. It holds no files, no connection and no clock,
and nothing that is judged already. Tests of checkers build one from literals: every part has an empty default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from rig.evidence.certificate import Certificate
from rig.evidence.confusion import SeedAnswer
from rig.evidence.history import COLUMNS
from rig.evidence.key_storm import KeyStorm
from rig.evidence.latency_calibration import LATENCY_COLUMNS
from rig.evidence.locust_run import Crowd
from rig.evidence.pool_metrics import POOL_COLUMNS
from rig.evidence.samples import Samples
from rig.evidence.scenario_runs import ScenarioRun
from rig.evidence.storm import StormReport
from rig.evidence.truth import TruthReport
from rig.model import Outcome
from rig.text import by_word

PROBE_COLUMNS = ("at_ns", "path", "status", "elapsed_ns", "error")
"""One row per question of the prober: monotonic ns when it was asked, ns until it was answered; ``status`` 0 and a
non-empty ``error`` where it was not."""

NO_REPORT = "a worker's report is missing"
WALL_CLOCK = "the wall clock"
"""What the finding is about that says whether the clock was stepped during the run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the hygiene sampler looked at, before or after the run."""

    when: Literal["before", "after"]
    what: str
    clean: bool
    detail: str = ""


def _no_history() -> pd.DataFrame:
    return pd.DataFrame({column: [] for column in COLUMNS})


def _no_latency_calibration() -> pd.DataFrame:
    return pd.DataFrame({column: [] for column in LATENCY_COLUMNS})


def _no_probes() -> pd.DataFrame:
    return pd.DataFrame({column: [] for column in PROBE_COLUMNS})


def _no_pool() -> pd.DataFrame:
    return pd.DataFrame({column: [] for column in POOL_COLUMNS})


@dataclass(frozen=True, slots=True)
class Case:
    """The evidence of one run.

    ``history`` has one row per request (columns: ``rig.evidence.history.COLUMNS``), ``probes`` one per question of the
    prober (``PROBE_COLUMNS``); both are empty where nothing was gathered. ``certificate`` and ``truth`` are None,
    ``leak_findings`` is empty, where they were not: what is missing can carry no PASS. ``latency_calibration`` has the
    rows that its latency certificate rests on (``LATENCY_COLUMNS``). ``samples`` is what the samplers saw beside it.
    ``epoch_monotonic_ns`` is the run's start on the clock of the history. ``cut_short`` says why the run did not do all
    that it was to do; empty where it did.
    """

    verb: str = "run"
    settings: Mapping[str, Any] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    scenario_runs: tuple[ScenarioRun, ...] = ()
    history: pd.DataFrame = field(default_factory=_no_history)
    certificate: Certificate | None = None
    latency_calibration: pd.DataFrame = field(default_factory=_no_latency_calibration)
    truth: TruthReport | None = None
    probes: pd.DataFrame = field(default_factory=_no_probes)
    pool: pd.DataFrame = field(default_factory=_no_pool)
    """What the target's metrics said of its pool of connections (``POOL_COLUMNS``)."""
    leak_findings: tuple[Finding, ...] = ()
    samples: Samples = field(default_factory=Samples)
    storms: tuple[StormReport, ...] = ()
    key_storms: tuple[KeyStorm, ...] = ()
    crowd: Crowd | None = None
    """The books of workers and master, where locust led the run."""
    answers: tuple[SeedAnswer, ...] = ()
    """What the diagnosis said to seeded bottlenecks, where that was proved."""
    notes: tuple[str, ...] = ()
    epoch_monotonic_ns: int = 0
    cut_short: str = ""

    def scenario_runs_of(self, scenario: str) -> tuple[ScenarioRun, ...]:
        """All drives of a scenario, in the order they were run."""
        return tuple(scenario_run for scenario_run in self.scenario_runs if scenario_run.scenario.id == scenario)

    def rows_of(self, scenario_run: ScenarioRun) -> pd.DataFrame:
        """The requests of one drive."""
        return self.history[self.history["scenario_run"] == scenario_run.scenario.label]

    def clock_step(self) -> str:
        """By how much the wall clock was stepped during the run, in words; empty when it was not."""
        return next((each.detail for each in self.leak_findings if each.what == WALL_CLOCK and not each.clean), "")

    def acknowledged_count(self, scenario_run: ScenarioRun) -> int:
        """How many requests of a drive were answered as their class asks."""
        return int((self.rows_of(scenario_run)["outcome"] == Outcome.ACKNOWLEDGED).sum())


def describe_missing_reports(scenario_runs: Iterable[ScenarioRun]) -> str:
    """Which drives lack a worker's report and why, in words; empty when none does."""
    return "; ".join(
        by_word(
            (scenario_run.scenario.label, ", ".join(scenario_run.notes) or NO_REPORT)
            for scenario_run in scenario_runs
            if not scenario_run.complete
        )
    )
