"""The client that is calibrated: its workers, what they sign and send, and where the stub may run beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rig.calibrate.machine import run_and_watch
from rig.engine.pool import Load, Pool
from rig.errors import EvidenceError
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import RunKey
from rig.profile import Profile


@dataclass(frozen=True, slots=True)
class CalibratedClient:
    """What each measurement of the client needs. ``folder`` is made for the rows of one, and removed after it.

    ``stub_cores``: the only cores that a stub may use; empty for all. ``progress`` gets each step in words.
    """

    pool: Pool
    profile: Profile
    run: RunKey
    folder: Path
    stub_cores: Collection[int] = ()
    progress: Callable[[str], None] = lambda what: None

    @contextmanager
    def open_folder(self, what: str) -> Iterator[None]:
        """A context in which ``folder`` exists; EvidenceError where it cannot be made."""
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise EvidenceError(f"the folder of the {what}, {self.folder}, cannot be made: {error}") from None
        try:
            yield
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def send(self, load: Load, what: str, on_start: Callable[[], None] = lambda: None) -> ScenarioRun:
        """A scenario run that is whole; EvidenceError where a worker gave no report."""
        report = run_and_watch(self.pool, load, on_start=on_start)
        if report.interrupted:
            raise KeyboardInterrupt
        if not report.complete:
            raise EvidenceError(f"the {what} has no result: {'; '.join(report.notes)}")
        return report
