"""What a defect does to a run: a switch of the service, and faults of the rig's own clients, samplers and processes.

Each is an ``apply`` (``rig.selftest.bench``): it changes the run before it begins, or acts while it goes on. Only
processes that the rig itself started are touched. Not for evidence on disk (``rig.selftest.pack_changes``).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import psutil

from rig.calibrate.cores import plan_of_this_machine
from rig.chaos.schedule import ChaosPlan, repeat, seconds_for
from rig.engine.pool import Pool
from rig.evidence.capacity import CapacityPlan
from rig.evidence.chaos import PlannedFault
from rig.evidence.sample_names import PG_ACTIVITY
from rig.machine.child import start
from rig.machine.processes import words
from rig.run.capacity import add_capacity
from rig.run.chaos import add_chaos
from rig.selftest.bench import Apply, PlannedRun, ScenarioWatch, beforehand
from rig.selftest.throttle import alongside, stutter
from rig.target.relay import Relay
from scenarios.capacity import capacity_step
from scenarios.s8 import warm_up
from scenarios.s11 import RATE_PER_S, chaos

STUTTER_S = {"run_s": 0.3, "stop_s": 0.2}
"""For two fifths of the time the client stands still."""
THROTTLE_S = {"run_s": 0.02, "stop_s": 0.06}
"""The client gets a quarter of the time."""
_SLOW_RELAY_MS = 2.0
_SCENARIO = "S2"
"""A fault in the middle of a run strikes when requests of this scenario are under way."""
_LOOK_S = 0.005


def switch(name: str, **scenario: Any) -> Apply[PlannedRun]:
    """Start the reference service with one of its defects; changes of what is sent to it may go with that."""

    def change(run: PlannedRun) -> None:
        run.change_settings(defects=(name,))
        run.change_scenarios(**scenario)

    return beforehand(change)


def strike(*faults: tuple[str, float], switched: str = "", rate_per_s: float = RATE_PER_S) -> Apply[PlannedRun]:
    """Send S11 while these faults strike, each for so many seconds; with a defect of the reference service."""
    planned = repeat([PlannedFault(0, name, 0.0, for_s) for name, for_s in faults])

    def change(run: PlannedRun) -> None:
        run.change_settings(defects=(switched,) if switched else ())
        run.job = add_chaos(run.job, ChaosPlan(seconds_for(planned), given=planned), chaos, rate_per_s)

    return beforehand(change)


@contextmanager
def slow_relay(run: PlannedRun) -> Iterator[None]:
    """Send S11 through relays that are slow from the beginning."""
    enter = Relay.__enter__

    def enter_slowly(relay: Relay) -> Relay:
        enter(relay).delay(_SLOW_RELAY_MS)
        return relay

    with strike(("sender-cut", 0.5))(run), patch.object(Relay, "__enter__", enter_slowly):
        yield


def seek_capacity(switched: str, **plan: float) -> Apply[PlannedRun]:
    """Look for the capacity of the reference service with one of its defects."""

    def change(run: PlannedRun) -> None:
        run.change_settings(defects=(switched,))
        run.job = add_capacity(run.job, CapacityPlan(**plan), warm_up, capacity_step)

    return beforehand(change)


def stutter_client(times_s: dict[str, float], **scenario: Any) -> Apply[PlannedRun]:
    """Stop and continue the client's workers by turns."""

    @contextmanager
    def apply(run: PlannedRun) -> Iterator[None]:
        run.change_scenarios(**scenario)
        with stutter(lambda: run.pool.pids, **times_s):
            yield

    return apply


@contextmanager
def kill_worker(run: PlannedRun) -> Iterator[None]:
    """Kill a worker in the middle of the run: one of a pool of its own, as the shared one is needed afterwards."""
    with Pool(run.pool.size, plan_of_this_machine(run.pool.size).client) as run.pool:
        pool = run.pool
        run.reporter = ScenarioWatch(run.reporter, _SCENARIO, lambda: os.kill(pool.pids[0], signal.SIGKILL))
        yield


@beforehand
def kill_sampler(run: PlannedRun) -> None:
    """Kill the sampler of the database in the middle of the run."""
    run.reporter = ScenarioWatch(run.reporter, _SCENARIO, find_and_kill_sampler)


def find_and_kill_sampler() -> bool:
    """Kill this process's sampler of the database with SIGKILL; False where there is none (yet)."""
    for child in psutil.Process().children():
        if f"rig.samplers.{PG_ACTIVITY}" in words(child):
            with suppress(psutil.NoSuchProcess):
                child.kill()
                return True
    return False


@contextmanager
def kill_sampler_at_start(_: object = None) -> Iterator[None]:
    """Kill the sampler of the database as soon as it appears, before it can say that it is ready."""

    def watch(over: threading.Event) -> None:
        while not over.is_set() and not find_and_kill_sampler():
            over.wait(_LOOK_S)

    with alongside(watch):
        yield


@beforehand
def leave_process(run: PlannedRun) -> None:
    """Start a process of the run that nobody stops. The run's supervisor ends it; it is reaped after that."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = start(command, env=run.supervisor.environ())
    run.afterwards.callback(process.wait)
