"""Who is told how far a run has come. Each method does nothing here: a reporter overrides what it wants to hear."""

from __future__ import annotations

import pandas as pd

from rig.evidence.scenario_runs import ScenarioRun
from rig.model import Scenario
from rig.run.answers_so_far import AnswersSoFar


class Reporter:
    """A reporter that says nothing."""

    def stage(self, what: str) -> None:
        """A new stage of the run begins."""

    def run_scenario(
        self, scenario: Scenario, number: int, scenario_runs: int, answers: AnswersSoFar | None = None
    ) -> None:
        """A scenario run begins, ``number`` of so many. ``answers``: None where nobody keeps rows of them."""

    def progress(self, requests: int) -> None:
        """So many requests of the scenario run have ended."""

    def end_scenario(self, report: ScenarioRun, rows: pd.DataFrame) -> None:
        """A scenario run has ended: its report and its rows."""


class ForwardingReporter(Reporter):
    """A reporter that tells another one all it hears; for reporters that act on what they hear besides."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def stage(self, what: str) -> None:
        """Pass it on."""
        self._reporter.stage(what)

    def run_scenario(
        self, scenario: Scenario, number: int, scenario_runs: int, answers: AnswersSoFar | None = None
    ) -> None:
        """Pass it on."""
        self._reporter.run_scenario(scenario, number, scenario_runs, answers)

    def progress(self, requests: int) -> None:
        """Pass it on."""
        self._reporter.progress(requests)

    def end_scenario(self, report: ScenarioRun, rows: pd.DataFrame) -> None:
        """Pass it on."""
        self._reporter.end_scenario(report, rows)
