"""Who is told how far a run has come. Each method does nothing here: a reporter overrides what it wants to hear."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rig.evidence.gate import Gate, Verdict
from rig.model import Scenario
from rig.run.answers_so_far import SeenSoFar


class Reporter:
    """A reporter that says nothing."""

    def stage(self, what: str) -> None:
        """A new stage of the run begins."""

    def run_scenario(self, scenario: Scenario, number: int, scenario_runs: int, seen: SeenSoFar | None = None) -> None:
        """A scenario run begins, ``number`` of so many. ``seen``: None where nobody looks at its answers."""

    def progress(self, requests: int) -> None:
        """So many requests of the scenario run have ended."""

    def end_scenario(self, scenario: Scenario, elapsed_s: float, response_ms: NDArray[np.float64]) -> None:
        """A scenario run has ended, with the response time of each of its requests (infinite without an answer)."""

    def tell_gate(self, gate: Gate) -> None:
        """This gate has failed, whatever else the run does."""

    def tell_failures(self, gates: Iterable[Gate]) -> None:
        """``tell_gate`` for those of these gates that are FAIL."""
        for gate in gates:
            if gate.verdict is Verdict.FAIL:
                self.tell_gate(gate)


class ForwardingReporter(Reporter):
    """A reporter that tells another one all it hears; for reporters that act on what they hear besides."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def stage(self, what: str) -> None:
        self._reporter.stage(what)

    def run_scenario(self, scenario: Scenario, number: int, scenario_runs: int, seen: SeenSoFar | None = None) -> None:
        self._reporter.run_scenario(scenario, number, scenario_runs, seen)

    def progress(self, requests: int) -> None:
        self._reporter.progress(requests)

    def end_scenario(self, scenario: Scenario, elapsed_s: float, response_ms: NDArray[np.float64]) -> None:
        self._reporter.end_scenario(scenario, elapsed_s, response_ms)

    def tell_gate(self, gate: Gate) -> None:
        self._reporter.tell_gate(gate)
