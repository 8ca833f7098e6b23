"""Kills at random moments of short runs: nothing is left, or the next run names it, and `rig settle` works on the pack.

``RIG_TEST_KILLS`` says how many (8), ``RIG_TEST_SEED`` which; a failure prints both. The moments are drawn from the
time that a run takes that nobody kills.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from rig.errors import ExitCode
from rig.machine import shared_memory
from rig.machine.processes import alive, words
from tests.cli.commands import QUICK, Going, environment, rig
from tests.faults.striking import Workshop, listens, token_of
from tests.waiting import wait_until

KILLS = int(os.environ.get("RIG_TEST_KILLS", "8"))
SEED = int(os.environ.get("RIG_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
TOGETHER = "rig and reaper killed"
WAYS = {"rig killed": signal.SIGKILL, TOGETHER: signal.SIGKILL, "SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}
SHORT = ("ladder", "--only", "S2", "--steps", "50", *QUICK)
JUDGED = (ExitCode.PASS, ExitCode.FAIL, ExitCode.BELOW_FLOOR, ExitCode.INVALID, ExitCode.INTERRUPTED)
SETTLED = {*JUDGED, ExitCode.USAGE, ExitCode.UNAVAILABLE, ExitCode.CONFIG}
NEXT = """
import json
from rig.machine.abandoned import left_directories, leftovers
print(json.dumps([[each.pid for each in leftovers()], list(map(str, left_directories()))]))
"""
"""What the next run looks for before it begins (``rig.run.leak_check``)."""


class Run:
    """A short run in a workshop, and what of it is left after its end."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._doors = {"TMPDIR": str(workshop.temporary)}
        self.going = Going([*SHORT, "--out", str(workshop.results)], self._doors)
        self._seen: set[psutil.Process] = set()
        self._ports: set[int] = set()
        self._memory: set[Path] = set()
        self._token = ""

    def strike(self, way: str) -> None:
        """End it in that way, if it still runs."""
        process = self.going.process
        with suppress(psutil.NoSuchProcess):
            self._remember()
            if way == TOGETHER:
                for reaper in self._reapers():
                    reaper.suspend()  # so that it does nothing before its own end
                process.kill()
                for reaper in self._reapers():
                    reaper.kill()
            else:
                process.send_signal(WAYS[way])

    def living(self) -> set[psutil.Process]:
        """The processes that are left of it."""
        marked = {each for each in psutil.process_iter() if self._token and token_of(each) == self._token}
        return {each for each in self._seen | marked if alive(each)}

    def left(self) -> str:
        """All that is left of it, in words; empty when nothing is."""
        processes = [f"{each.pid} {words(each)[:4]}" for each in self.living()]
        ports = [port for port in self._ports if listens(port)]
        found = {"processes": processes, "ports": ports, "files": self.files(), "memory": self.memory()}
        return "; ".join(f"{what} {each}" for what, each in found.items() if each)

    def files(self) -> list[Path]:
        """What lies in the temporary folder, which it had for itself."""
        return list(self._workshop.temporary.iterdir())

    def memory(self) -> list[str]:
        """The shared memory of its PostgreSQL."""
        segments = shared_memory.segments_of({each.pid for each in self._seen})
        return [*map(str, segments), *(str(file) for file in self._memory if file.exists())]

    def named_by_the_next(self) -> tuple[set[int], set[Path]]:
        """The processes and directories of it that the next run names."""
        found = subprocess.run(
            [sys.executable, "-c", NEXT], env=environment(self._doors), capture_output=True, text=True, check=True
        )
        pids, folders = json.loads(found.stdout)
        return set(pids), set(map(Path, folders))

    def clear(self) -> None:
        """What a person does who was told what is left: end the processes, remove the directories."""
        for process in self.living():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGQUIT if process.name().startswith("postgres") else signal.SIGTERM)
        wait_until(lambda: not self.living())
        for path in self.files():
            shutil.rmtree(path, ignore_errors=True)

    def _reapers(self) -> list[psutil.Process]:
        return [each for each in self._seen if "rig.machine.supervisor" in words(each)]

    def _remember(self) -> None:
        for process in psutil.Process(self.going.process.pid).children(recursive=True):
            self._seen.add(process)
            if "rig.machine.supervisor" in words(process):
                self._token = words(process)[-1]
            with suppress(psutil.Error):
                self._ports |= {each.laddr.port for each in process.net_connections("tcp") if each.status == "LISTEN"}
        self._memory = shared_memory.files_of(each.pid for each in self._seen)


def is_below(process: psutil.Process, named: set[int]) -> bool:
    """Whether it, or a process above it, is one of those that were named: it ends with them."""
    with suppress(psutil.NoSuchProcess):
        return not named.isdisjoint({process.pid, *(each.pid for each in process.parents())})
    return True


@pytest.mark.full
@pytest.mark.timeout(60 + 60 * KILLS)
def test_kills_at_random_moments_leave_nothing_and_each_pack_is_settled(workshop: Workshop) -> None:
    drawn = random.Random(SEED)
    ends: Counter[str] = Counter()
    began = time.monotonic()
    assert Run(workshop).going.end().code in JUDGED
    whole_s = time.monotonic() - began
    for number in range(KILLS):
        way, after_s = drawn.choice(list(WAYS)), drawn.uniform(0.0, whole_s)
        about = f"RIG_TEST_SEED={SEED}, kill {number + 1}: {way} after {after_s:.2f} of {whole_s:.2f} s"
        shutil.rmtree(workshop.results, ignore_errors=True)
        run = Run(workshop)
        time.sleep(after_s)  # the random moment is what is tested
        run.strike(way)
        ended = run.going.end()
        if ended.code != -signal.SIGINT:  # in Python's own first milliseconds, before a line of the rig has run
            assert "Traceback" not in ended.err, f"{about}: {ended.err}"
        if WAYS[way] is not signal.SIGKILL:
            assert ended.code in (*JUDGED, -WAYS[way]), f"{about}: {ended.code} {ended.err}"
        if way == TOGETHER:
            pids, folders = run.named_by_the_next()
            left, unnamed = run.left(), [each for each in run.living() if not is_below(each, pids)]
            unnamed_folders = {path for path in run.files() if path.is_dir()} - folders
            run.clear()
            assert not unnamed, f"{about}: {unnamed} of {left}"
            assert not unnamed_folders, f"{about}: {unnamed_folders} of {left}"
            ends["left, and named by the next run"] += bool(pids or folders)
            run.named_by_the_next()  # removes the journal of a run of which nothing is left
        try:
            wait_until(lambda run=run: not run.left(), 30)
        except AssertionError:
            pytest.fail(f"{about}: left: {run.left()}")
        ends[way] += 1
        for pack in [*workshop.results.iterdir()] if workshop.results.exists() else []:
            settled = rig("settle", str(pack))
            assert settled.code in SETTLED, f"{about}: settle: {settled.code} {settled.err}"
            assert "Traceback" not in settled.out + settled.err, f"{about}: settle: {settled.err}"
            ends[f"settled, exit {settled.code}"] += 1
    print(f"\n{KILLS} kills, seed {SEED}, a run of {whole_s:.1f} s: {dict(sorted(ends.items()))}")  # noqa: T201  # figures
