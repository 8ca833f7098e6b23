"""The step that loads a target: every scenario of the run, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from rig.calibrate.machine import run_and_watch
from rig.errors import ConfigError
from rig.evidence.chaos import S11
from rig.evidence.scenario_runs import ScenarioRun
from rig.evidence.shapes import S10
from rig.model import Scenario
from rig.run.answers_so_far import AnswersSoFar
from rig.run.live_run import LiveRun
from rig.stats import response_ms
from rig.target.refusal import REFUSALS, find_cause, may_be_refusal
from rig.truth.arrival import ArrivalWatch


def run_scenarios(run: LiveRun, watch: ArrivalWatch) -> bool:
    """Run every scenario but S10 and S11; each is in the journal before it starts and after it ends.

    False: interrupted. ConfigError where the target refuses every request of the first one.
    """
    scenarios = [scenario for scenario in run.job.scenarios if scenario.id not in (S10, S11)]
    trials = MissedTrials(scenarios)
    for number, scenario in enumerate(scenarios, 1):
        if trials.decide(scenario):
            run.record.note(f"{scenario.label} was not sent: the trials that missed the limit decide the median")
            continue
        files = run.record.history.rows_files(scenario, run.pool.size)
        answers = AnswersSoFar(run.record.targeter.bind(scenario), run.job.profile, files)
        run.reporter.run_scenario(scenario, number, len(run.job.scenarios), answers)
        run.record.announce(scenario, run.pool.size)
        watch.follow(scenario, files)
        report = run_and_watch(run.pool, run.load(scenario), progress=run.reporter.progress)
        watch.finish(scenario)
        rows = run.record.complete(report)
        run.reporter.end_scenario(scenario, report.elapsed_s, response_ms(rows))
        trials.add(report, rows)
        if number == 1:
            _require_acceptance(run, scenario, rows)
        if report.interrupted:
            rest = ", ".join(left.label for left in run.job.scenarios[number:])
            run.record.note(f"interrupted in {scenario.label}" + (f"; not run: {rest}" if rest else ""))
            return False
    return True


class MissedTrials:
    """Counts the trials that missed their limit, to leave out those that cannot change the median."""

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        self._planned = Counter(scenario.id for scenario in scenarios)
        self._missed: Counter[str] = Counter()

    def add(self, report: ScenarioRun, rows: pd.DataFrame) -> None:
        """Count a trial that took longer than it may, or in which a request had no answer."""
        limit_s = report.scenario.limit_s
        if limit_s is not None:
            self._missed[report.scenario.id] += report.elapsed_s >= limit_s or bool((rows["status"] == 0).any())

    def decide(self, scenario: Scenario) -> bool:
        """Whether more than half of all trials of a scenario have missed their limit."""
        return 2 * self._missed[scenario.id] > self._planned[scenario.id]


def _require_acceptance(run: LiveRun, scenario: Scenario, rows: pd.DataFrame) -> None:
    """ConfigError where every request of a scenario has the one answer that a wrong signature or API key has."""
    statuses = rows["status"].unique()
    if len(statuses) != 1 or not may_be_refusal(int(statuses[0])):
        return
    route = run.job.profile.route(scenario.route)
    refusal = find_cause(run.job.profile, run.key, run.target.endpoint, route, run.load(scenario).credentials)
    if refusal.cause or refusal.status in REFUSALS:
        raise ConfigError(
            f"the target answers {refusal.answer} to every request of the first scenario: {refusal.remedy}"
        )
