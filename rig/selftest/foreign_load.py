"""Processes on this machine that are no part of the run and only compute, so that a diagnosis can be seen to find them.

Flow: ``foreign_load`` has a middleman start them. The middleman ends at once, so that they are nobody's children and no
sampler takes them for the rig's own. At the end they are killed by pid. They carry the environment of their caller, so
a supervisor ends them as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from rig.machine.orphans import leave_orphans
from rig.machine.processes import alive

LOAD_PER_CORE = 4
"""The scheduler is fair to threads: with so many for each core, the run's own threads get the smaller part."""
_END_TIMEOUT_S = 5.0
_POLL_S = 0.01

_COMPUTE = "while True: pass"
_MIDDLEMAN = """
import subprocess, sys
for _ in range(int(sys.argv[1])):
    quiet = subprocess.DEVNULL
    one = subprocess.Popen(
        [sys.executable, "-c", sys.argv[2]], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )
    print(one.pid, flush=True)
"""


@contextmanager
def foreign_load(count: int | None = None) -> Iterator[tuple[int, ...]]:
    """``count`` processes that compute (by default four a core), by pid; they are gone afterwards."""
    count = count or LOAD_PER_CORE * (os.cpu_count() or 1)
    with leave_orphans():
        started = subprocess.run(
            [sys.executable, "-c", _MIDDLEMAN, str(count), _COMPUTE], stdout=subprocess.PIPE, text=True, check=True
        )
    processes = [psutil.Process(int(pid)) for pid in started.stdout.split()]
    try:
        yield tuple(process.pid for process in processes)
    finally:
        _end(processes)


def _end(processes: list[psutil.Process]) -> None:
    """They are not this process's children and cannot be waited for, so poll until they are gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + _END_TIMEOUT_S
    while any(alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
