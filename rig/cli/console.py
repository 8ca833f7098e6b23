"""Progress of a run on stderr: a moving bar in a terminal, else one line for each stage."""

from __future__ import annotations

import time
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from rig.model import Scenario
from rig.run.reporter import Reporter


class ConsoleReporter(Reporter):
    """A context that shows how far a run has come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
        self._shown: TaskID | None = None
        self._stage = ""
        self._began_s = 0.0

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
        self._show(what, what, None)

    def run_scenario(self, scenario: Scenario, number: int, scenario_runs: int) -> None:
        """A bar, or a line."""
        spread = f", {len(scenario.tenants)} tenants" if len(scenario.tenants) > 2 else ""
        trial = f", trial {scenario.trial}" if scenario.limit_s else ""
        what = f"{scenario.id} {scenario.title}, {scenario.count:,} on {scenario.route}{spread}{trial}"
        self._show(f"{scenario.id} {scenario.title}", f"[{number}/{scenario_runs}] {what}", scenario.count)

    def progress(self, requests: int) -> None:
        """Move the bar."""
        if self._progress is not None and self._shown is not None:
            self._progress.update(self._shown, completed=requests)

    def _show(self, stage: str, what: str, total: int | None) -> None:
        if self._progress is None:
            self._console.print(f"{datetime.now():%H:%M:%S} rig: {what}", markup=False, highlight=False, soft_wrap=True)
            return
        if stage != self._stage:
            self._end_stage()
            self._stage, self._began_s = stage, time.monotonic()
        if self._shown is not None:
            self._progress.remove_task(self._shown)
        self._shown = self._progress.add_task(escape(what), total=total)

    def _end_stage(self) -> None:
        """A stage that ended leaves a line; all runs of a scenario are one stage."""
        if self._stage:
            took_s = time.monotonic() - self._began_s
            self._console.print(f"{took_s:6.1f} s  {self._stage}", style="dim", markup=False, highlight=False)
