"""Progress of a run on stderr: in a terminal two bars that move, else one line for each stage with the time.

In a terminal the bar of a scenario run has its rate, the p95 of its last requests, and how many have failed. The first
failure of each kind in a scenario has a line of its own at once, and so has a gate that has failed whatever comes. Each
stage leaves a line when it ends. So does a scenario run that failed or has a limit: how fast it was, and what failed.
All others of a step leave one together.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from rig.evidence.failures import describe_failures
from rig.evidence.gate import Gate
from rig.model import Scenario
from rig.run.answers_so_far import SeenSoFar
from rig.run.reporter import Reporter
from rig.stats import quantile
from rig.text import milliseconds, number, one_line, shorten

_LOOK_EVERY_S = 0.5
_GATE_MOST = 300
_TIME_WIDTH = 10
_BAR_FROM = 110
"""A terminal with fewer columns has no room for a bar beside the figures."""


def _whole() -> Column:
    """A column that is neither cut nor folded; where the terminal is narrow, the description is cut."""
    return Column(no_wrap=True, justify="right")


class _TimeLeft(TimeRemainingColumn):
    """The estimate of the end, where there is one."""

    def render(self, task: Task) -> Text:
        return Text() if task.time_remaining is None else super().render(task).append(" left")


@dataclass(slots=True)
class _Step:
    """The scenario runs of one step of the ladder without a failure."""

    size: int
    scenario_runs: int = 0
    requests: int = 0
    elapsed_s: float = 0.0
    slowest_ms: float = 0.0
    slowest: str = ""

    def add(self, scenario: Scenario, elapsed_s: float, requests: int, p95_ms: float) -> None:
        self.scenario_runs += 1
        self.requests += requests
        self.elapsed_s += elapsed_s
        if p95_ms >= self.slowest_ms:
            self.slowest_ms, self.slowest = p95_ms, scenario.label

    @property
    def line(self) -> str:
        one = self.scenario_runs == 1
        runs = self.slowest if one else f"{self.scenario_runs} scenario runs of step {self.size:,}"
        where = "" if one else f", that of {self.slowest}"
        slowest = f"{'' if one else 'highest '}p95 {milliseconds(self.slowest_ms)}{where}"
        return f"{self.elapsed_s:6.1f} s  {runs}: {self.requests:,} requests, 0 failed, {slowest}"


class ConsoleReporter(Reporter):
    """A context that shows how far a run has come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        if console.is_terminal:
            bar = [BarColumn(bar_width=20)] if console.width >= _BAR_FROM else []
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
                *bar,
                *(TextColumn("{task.fields[seen]}", table_column=_whole()), TimeElapsedColumn(table_column=_whole())),
                _TimeLeft(compact=True, table_column=_whole()),
                console=console,
                expand=True,
                transient=True,
            )
        self._whole: TaskID | None = None
        self._shown: TaskID | None = None
        self._stage = ""
        self._began_s = 0.0
        self._answers: SeenSoFar | None = None
        self._scenario: Scenario | None = None
        self._told: set[tuple[str, str]] = set()
        """The scenarios and kinds of failure of which a first one was told."""
        self._step = _Step(0)
        self._number = self._scenario_runs = 0
        self._looked_s = 0.0
        self._seen = ""

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._end_step()
            self._end_stage()
            self._progress.stop()

    def stage(self, what: str) -> None:
        """A spinner, or a line."""
        self._end_step()
        self._show(what, None)
        self._stage = what

    def run_scenario(self, scenario: Scenario, number: int, scenario_runs: int, seen: SeenSoFar | None = None) -> None:
        """A bar below that of the whole run, or a line."""
        self._scenario, self._answers, self._seen = scenario, seen, ""
        if scenario.step != self._step.size:
            self._end_step(scenario.step)
        spread = f", {len(scenario.tenants)} tenants" if len(scenario.tenants) > 2 else ""
        trial = f", trial {scenario.trial}" if scenario.limit_s else ""
        what = f"{scenario.id} {scenario.title}, {scenario.count:,} on {scenario.route}{spread}{trial}"
        if self._progress is not None and self._whole is None:
            self._whole = self._progress.add_task("all scenario runs", total=scenario_runs, seen="")
        self._show(f"[{number}/{scenario_runs}] {what}", scenario.count)
        self._number, self._scenario_runs = number, scenario_runs
        self._count_done(number - 1)

    def _count_done(self, number: int) -> None:
        if self._progress is not None and self._whole is not None:
            self._progress.update(self._whole, completed=number, seen=f"{number}/{self._scenario_runs}")

    def progress(self, requests: int) -> None:
        """Move the bar, and tell of the first failures."""
        now_s, scenario = time.monotonic(), self._scenario
        if scenario is None or self._answers is None:
            return
        if now_s - self._looked_s >= _LOOK_EVERY_S or requests >= scenario.count:
            self._looked_s, self._seen = now_s, self._look(scenario, self._answers)
        if self._progress is not None and self._shown is not None:
            rate = requests / max(now_s - self._began_s, 0.1)
            seen = f"{requests:,} · {number(round(rate))}/s{self._seen}"
            self._progress.update(self._shown, completed=requests, seen=seen)

    def _look(self, scenario: Scenario, answers: SeenSoFar) -> str:
        """The p95 of the last requests and how many have failed; the first of each kind in a scenario is printed."""
        for first in answers.look():
            if (scenario.id, first.kind) in self._told:
                continue
            self._told.add((scenario.id, first.kind))
            self._tell(f"{scenario.label}: {first.words}", "red")
        if answers.p95_ms is None:
            return ""
        failed = sum(answers.failures.values())
        return f" · p95 {milliseconds(answers.p95_ms)}" + (f" · [red]{failed:,} failed[/]" if failed else "")

    def end_scenario(self, scenario: Scenario, elapsed_s: float, response_ms: NDArray[np.float64]) -> None:
        """A line that stays, with what became of the requests; of those without a failure one for each step."""
        if self._answers is not None:
            self._look(scenario, self._answers)
        self._count_done(self._number)
        if self._progress is None or not len(response_ms):
            return
        failures = self._answers.failures if self._answers is not None else {}
        requests, p95_ms, limit_s = len(response_ms), quantile(response_ms, 0.95), scenario.limit_s
        if scenario.redelivery is not None:
            self._tell_attempts(scenario, elapsed_s, response_ms, failures)
            return
        if not failures and limit_s is None:
            self._step.add(scenario, elapsed_s, requests, p95_ms)
            return
        rate = number(round(requests / elapsed_s)) if elapsed_s > 0 else "–"
        figures = f"{requests:,} at {rate}/s, p95 {milliseconds(p95_ms)}, {describe_failures(failures)}"
        is_late = limit_s is not None and elapsed_s >= limit_s
        late = f", over its limit of {limit_s:g} s" if is_late else ""
        style = "red" if failures else "yellow" if is_late else "dim"
        self._print(f"{elapsed_s:6.1f} s  {scenario.label}: {figures}{late}", style)

    def _tell_attempts(
        self, scenario: Scenario, elapsed_s: float, response_ms: NDArray[np.float64], failures: Mapping[str, int]
    ) -> None:
        """A line about a scenario run during which things were broken, so that some attempts had to fail."""
        answered_ms = response_ms[np.isfinite(response_ms)]
        p95 = f", p95 of the answers {milliseconds(quantile(answered_ms, 0.95))}" if len(answered_ms) else ""
        without = f"{len(response_ms) - len(answered_ms):,} without an answer"
        wrong = f", {describe_failures(failures)}" if failures else ""
        line = f"{elapsed_s:6.1f} s  {scenario.label}: {len(response_ms):,} attempts, {without}{p95}{wrong}"
        self._print(line, "red" if failures else "dim")

    def tell_gate(self, gate: Gate) -> None:
        """A line at once."""
        self._tell(shorten(f"{gate.verdict} {gate.id}: {one_line(gate.reason or gate.rule)}", _GATE_MOST), "red")

    def _tell(self, line: str, style: str) -> None:
        """Print what is wrong while the run goes on."""
        self._print(f"          {line}" if self._progress else f"{datetime.now():%H:%M:%S} rig: {line}", style)

    def _show(self, what: str, total: int | None) -> None:
        if self._progress is None:
            self._console.print(f"{datetime.now():%H:%M:%S} rig: {what}", markup=False, highlight=False, soft_wrap=True)
            return
        self._end_stage()
        self._began_s = time.monotonic()
        if self._shown is not None:
            self._progress.remove_task(self._shown)
        self._shown = self._progress.add_task(escape(what), total=total, seen="")

    def _end_stage(self) -> None:
        """A stage that ended leaves a line."""
        if self._stage:
            self._print(f"{time.monotonic() - self._began_s:6.1f} s  {self._stage}", "dim")
            self._stage = ""

    def _end_step(self, size: int = 0) -> None:
        """A step that ended leaves a line; the next one is of ``size``."""
        if self._step.scenario_runs:
            self._print(self._step.line, "dim")
        self._step = _Step(size)

    def _print(self, line: str, style: str) -> None:
        """A line that stays. In a terminal its words are folded behind the time."""
        if self._progress is None:
            self._console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
            return
        folded = Table.grid()
        folded.add_column(width=_TIME_WIDTH, no_wrap=True)
        folded.add_column(overflow="fold")
        folded.add_row(Text(line[:_TIME_WIDTH]), Text(line[_TIME_WIDTH:]))
        self._console.print(folded, style=style)
