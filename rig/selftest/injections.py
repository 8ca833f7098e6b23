"""Hands on the rig's own instrument while it works: what ``rig prove`` does to clients, samplers and processes.

Each saboteur is told how far a run has come, as a reporter is, and strikes in the middle of it; ``stuttering`` stops
processes again and again for as long as its context lasts. Only processes that the rig itself started are touched. Not
for the target (its defects are switches of its own) nor for evidence that lies on disk (``rig.selftest.corruptions``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import psutil

from rig.engine.pool import Pool
from rig.evidence.sample_names import PG_ACTIVITY
from rig.machine.processes import words
from rig.machine.supervisor import Supervisor
from rig.model import Scenario
from rig.run.open_run import OpenRun
from rig.run.reporter import ForwardingReporter, Reporter

_LOOK_S = 0.005
STUTTER = {"running_s": 0.3, "stopped_s": 0.2}
"""For two fifths of the time the client stands still."""


@contextmanager
def sabotaged(
    defect: str, run: OpenRun, pool: Pool, supervisor: Supervisor, afterwards: ExitStack
) -> Iterator[OpenRun]:
    """Do to a run what a defect of the instrument is; nothing for any other defect. The run to go on with.

    ``afterwards`` is left when the ``supervisor`` of the run has ended.
    """
    match defect:
        case "stuttering-client":
            with stuttering(pool.pids, **STUTTER):
                yield run
            return
        case "sampler-unborn":
            with no_sampler_born():
                yield run
            return
        case "worker-killed":
            strike = Striking(run.reporter, "S2", lambda: os.kill(pool.pids[0], signal.SIGKILL))
            run = replace(run, reporter=strike)
        case "sampler-killed":
            run = replace(run, reporter=Striking(run.reporter, "S2", kill_sampler))
        case "process-left-behind":
            leave_behind(supervisor, afterwards)
    yield run


class Striking(ForwardingReporter):
    """A reporter that passes everything on, and strikes once while the drive of a scenario is under way."""

    def __init__(self, reporter: Reporter, scenario: str, strike: Callable[[], object]) -> None:
        super().__init__(reporter)
        self._scenario = scenario
        self._strike = strike
        self._armed = False

    def run_scenario(self, scenario: Scenario, number: int, scenario_runs: int) -> None:
        """A drive begins."""
        self._armed = scenario.id == self._scenario
        super().run_scenario(scenario, number, scenario_runs)

    def progress(self, requests: int) -> None:
        """So many requests of the drive have ended."""
        if self._armed and requests:
            self._armed = False
            self._strike()
        super().progress(requests)


def kill_sampler() -> bool:
    """Kill this process's sampler of the database with SIGKILL; False where there is none (yet)."""
    for child in psutil.Process().children():
        if f"rig.samplers.{PG_ACTIVITY}" in words(child):
            with suppress(psutil.NoSuchProcess):
                child.kill()
                return True
    return False


@contextmanager
def no_sampler_born() -> Iterator[None]:
    """Kill the sampler of the database as soon as it appears, before it can say that it is ready."""
    over = threading.Event()

    def watch() -> None:
        while not over.is_set() and not kill_sampler():
            over.wait(_LOOK_S)

    with _alongside(watch, over):
        yield


@contextmanager
def stuttering(pids: Sequence[int], *, running_s: float, stopped_s: float) -> Iterator[None]:
    """Stop and continue processes by turns; they run again at the end."""
    over = threading.Event()

    def stutter() -> None:
        try:
            while not over.wait(running_s):
                _tell(pids, signal.SIGSTOP)
                time.sleep(stopped_s)
                _tell(pids, signal.SIGCONT)
        finally:
            _tell(pids, signal.SIGCONT)

    with _alongside(stutter, over):
        yield


def leave_behind(supervisor: Supervisor, afterwards: ExitStack) -> None:
    """Start a process of the run that nobody stops; the lifeline ends it, and ``afterwards`` it is reaped."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen(command, env=supervisor.environ(), stdin=subprocess.DEVNULL, start_new_session=True)
    afterwards.callback(process.wait)


@contextmanager
def _alongside(work: Callable[[], None], over: threading.Event) -> Iterator[None]:
    """Run ``work`` in a thread for the time of the context; it looks at ``over``."""
    thread = threading.Thread(target=work, name="rig-sabotage", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _tell(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
