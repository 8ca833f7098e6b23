"""Progress of a run on stderr: in a terminal two bars that move, else one line for each stage with the time.

In a terminal the bar of a scenario run has its rate and the p95 of its last requests. Each stage leaves a line when it
ends. That of a scenario run says how fast it was, and what failed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd
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
from rich.table import Column
from rich.text import Text

from rig.evidence.history import read_last_rows
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import Outcome, Scenario
from rig.run.reporter import Reporter
from rig.stats import latency_figures
from rig.text import milliseconds, number

_ROWS_MOST = 1_000
"""So many of the last requests of each worker the live p95 is of."""
_LOOK_EVERY_S = 0.5
_BAR_FROM = 110
"""A terminal with fewer columns has no room for a bar beside the figures."""


def _whole() -> Column:
    """A column that is neither cut nor folded; where the terminal is narrow, the description is cut."""
    return Column(no_wrap=True, justify="right")


class _TimeLeft(TimeRemainingColumn):
    """The estimate of the end, where there is one."""

    def render(self, task: Task) -> Text:
        """See ``TimeRemainingColumn``."""
        return Text() if task.time_remaining is None else super().render(task).append(" left")


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
        self._rows_files: Sequence[Path] = ()
        self._looked_s = 0.0
        self._p95 = ""

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._end_stage()
            self._progress.stop()

    def stage(self, what: str) -> None:
        """A spinner, or a line."""
        self._show(what, None)
        self._stage = what

    def run_scenario(
        self, scenario: Scenario, number: int, scenario_runs: int, rows_files: Sequence[Path] = ()
    ) -> None:
        """A bar below that of the whole run, or a line."""
        self._rows_files, self._p95 = rows_files, ""
        spread = f", {len(scenario.tenants)} tenants" if len(scenario.tenants) > 2 else ""
        trial = f", trial {scenario.trial}" if scenario.limit_s else ""
        what = f"{scenario.id} {scenario.title}, {scenario.count:,} on {scenario.route}{spread}{trial}"
        if self._progress is not None and self._whole is None:
            self._whole = self._progress.add_task("all scenario runs", total=scenario_runs, seen="")
        self._show(f"[{number}/{scenario_runs}] {what}", scenario.count)
        if self._progress is not None and self._whole is not None:
            self._progress.update(self._whole, completed=number - 1, seen=f"{number - 1}/{scenario_runs}")

    def progress(self, requests: int) -> None:
        """Move the bar."""
        if self._progress is not None and self._shown is not None:
            now_s = time.monotonic()
            if now_s - self._looked_s >= _LOOK_EVERY_S:
                self._looked_s, self._p95 = now_s, self._say_p95()
            rate = requests / max(now_s - self._began_s, 0.1)
            seen = f"{requests:,} · {number(round(rate))}/s{self._p95}"
            self._progress.update(self._shown, completed=requests, seen=seen)

    def _say_p95(self) -> str:
        rows = read_last_rows(self._rows_files, _ROWS_MOST)
        return f" · p95 {milliseconds(latency_figures(rows)['response_p95_ms'])}" if len(rows) else ""

    def end_scenario(self, report: ScenarioRun, rows: pd.DataFrame) -> None:
        """A line that stays, with what became of the requests."""
        if self._progress is None or not len(rows):
            return
        wrong = int((rows["outcome"] != Outcome.ACKNOWLEDGED).sum())
        p95 = milliseconds(latency_figures(rows)["response_p95_ms"])
        rate = number(round(len(rows) / report.elapsed_s)) if report.elapsed_s > 0 else "–"
        where = f"{report.scenario.label}: {len(rows):,} at {rate}/s, {wrong:,} failed, p95 {p95}"
        self._print(f"{report.elapsed_s:6.1f} s  {where}", "red" if wrong else "dim")

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
        """A stage that ended leaves a line. A scenario run leaves its own."""
        if self._stage:
            self._print(f"{time.monotonic() - self._began_s:6.1f} s  {self._stage}", "dim")
            self._stage = ""

    def _print(self, line: str, style: str) -> None:
        self._console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
