"""All evidence of one run as a frozen value, which the checkers read.

Flow: ``rig.evidence.pack`` loads a folder into a ``Case``. Checkers turn it into gates; plots and reports draw it. A
case is the same whether the run ended a second or a year ago. It holds no file, no connection, no clock and no verdict.
Every part has an empty default, so that a test can build a case from a few literals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import pandas as pd

from rig.evidence.capacity import CapacityReport
from rig.evidence.certificate import Certificate
from rig.evidence.chaos import ChaosReport
from rig.evidence.confusion import SeedAnswer
from rig.evidence.echoes import Echoes
from rig.evidence.examples import AnswerExample
from rig.evidence.history import COLUMNS, is_forged
from rig.evidence.key_storm import KeyStorm
from rig.evidence.latency_calibration import LATENCY_COLUMNS
from rig.evidence.locust_run import LocustRun
from rig.evidence.pool_metrics import POOL_COLUMNS
from rig.evidence.samples import Samples
from rig.evidence.scenario_runs import ScenarioRun
from rig.evidence.shapes import ShapesReport
from rig.evidence.storm import StormReport
from rig.evidence.truth import TruthReport
from rig.model import Outcome
from rig.text import by_word

PROBE_COLUMNS = ("at_ns", "path", "status", "elapsed_ns", "error")
"""One row per question of the prober: monotonic ns when it was asked, ns until the answer. Without an answer ``status``
is 0 and ``error`` says why."""

NO_REPORT = "a worker's report is missing"
NOT_READ = "the database was not read after the run"
"""Why a gate about rows can claim nothing."""
WALL_CLOCK = "the wall clock"
"""The subject of the finding that says whether the wall clock was stepped during the run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the leak check looked at, before or after the run."""

    when: Literal["before", "after"]
    what: str
    clean: bool
    detail: str = ""


def _no_rows(columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({column: [] for column in columns})


@dataclass(frozen=True, slots=True)
class Case:
    """The evidence of one run.

    A part that was not gathered is empty or None, and no gate passes on it. ``history`` has one row per request
    (columns: ``rig.evidence.history.COLUMNS``), ``probes`` one per question of the prober (``PROBE_COLUMNS``),
    ``latency_calibration`` the rows behind the latency certificate (``LATENCY_COLUMNS``). ``epoch_monotonic_ns`` is the
    run's start on the clock of the history. ``cut_short`` says why the run ended before its work was done.
    """

    verb: str = "run"
    settings: Mapping[str, Any] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    scenario_runs: tuple[ScenarioRun, ...] = ()
    history: pd.DataFrame = field(default_factory=partial(_no_rows, COLUMNS))
    certificate: Certificate | None = None
    latency_calibration: pd.DataFrame = field(default_factory=partial(_no_rows, LATENCY_COLUMNS))
    truth: TruthReport | None = None
    probes: pd.DataFrame = field(default_factory=partial(_no_rows, PROBE_COLUMNS))
    pool: pd.DataFrame = field(default_factory=partial(_no_rows, POOL_COLUMNS))
    """What the target's metrics said about its pool of connections (``POOL_COLUMNS``)."""
    leak_findings: tuple[Finding, ...] = ()
    samples: Samples = field(default_factory=Samples)
    storms: tuple[StormReport, ...] = ()
    key_storms: tuple[KeyStorm, ...] = ()
    locust_run: LocustRun | None = None
    """The books of workers and master, where locust led the run."""
    answers: tuple[SeedAnswer, ...] = ()
    """What the diagnosis said to seeded bottlenecks, where that was proved."""
    examples: tuple[AnswerExample, ...] = ()
    """The first answers of each kind that must not be."""
    chaos: ChaosReport | None = None
    """Which faults struck during S11; None where nobody broke anything."""
    echoes: Echoes | None = None
    """Personal data in answers and metrics; None where nobody listened."""
    shapes: ShapesReport | None = None
    """What came of the events of S10; None where none was sent."""
    capacity: CapacityReport | None = None
    """What was asked of a search for the capacity, and why it ended; None where nobody searched."""
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    """Machine, software and target, as the manifest has them."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Scenarios that the target could not be sent, each with the reason."""
    notes: tuple[str, ...] = ()
    epoch_monotonic_ns: int = 0
    cut_short: str = ""

    @property
    def has_no_dead_letters(self) -> bool:
        """Whether the profile says of the truth, and names no dead letters."""
        return "truth" in self.profile and self.profile["truth"].get("dead") is None

    def scenario_runs_of(self, scenario: str) -> tuple[ScenarioRun, ...]:
        """All runs of a scenario, in the order in which they were made."""
        return tuple(run for run in self.scenario_runs if run.scenario.id == scenario)

    def rows_of(self, run: ScenarioRun) -> pd.DataFrame:
        return self.history[self.history["scenario_run"] == run.scenario.label]

    def clock_step(self) -> str:
        """By how much the wall clock was stepped during the run, in words; empty when it was not."""
        return next((each.detail for each in self.leak_findings if each.what == WALL_CLOCK and not each.clean), "")

    def acknowledged_count(self, run: ScenarioRun) -> int:
        """How many requests of a scenario run were answered as their class asks, but for forged ones."""
        rows = self.rows_of(run)
        return int(((rows["outcome"] == Outcome.ACKNOWLEDGED) & ~is_forged(rows)).sum())


def describe_missing_reports(runs: Iterable[ScenarioRun]) -> str:
    """Which scenario runs lack a worker's report, and why; empty where none does."""
    return "; ".join(
        by_word((run.scenario.label, ", ".join(run.notes) or NO_REPORT) for run in runs if not run.complete)
    )
