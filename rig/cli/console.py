"""Progress of a run on stderr: a moving bar in a terminal, else one line for each stage."""

from __future__ import annotations

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
        self._stage: TaskID | None = None

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def stage(self, what: str) -> None:
        """A spinner, or a line."""
        self._show(what, None)

    def run_scenario(self, scenario: Scenario, number: int, scenario_runs: int) -> None:
        """A bar, or a line."""
        spread = f", {len(scenario.tenants)} tenants" if len(scenario.tenants) > 2 else ""
        trial = f", trial {scenario.trial}" if scenario.limit_s else ""
        what = f"{scenario.id} {scenario.title}, {scenario.count:,} on {scenario.route}{spread}{trial}"
        self._show(f"[{number}/{scenario_runs}] {what}", scenario.count)

    def progress(self, requests: int) -> None:
        """Move the bar."""
        if self._progress is not None and self._stage is not None:
            self._progress.update(self._stage, completed=requests)

    def _show(self, what: str, total: int | None) -> None:
        if self._progress is None:
            self._console.print(f"rig: {escape(what)}", highlight=False)
            return
        if self._stage is not None:
            self._progress.remove_task(self._stage)
        self._stage = self._progress.add_task(escape(what), total=total)
