"""Ticks on a fake clock: when they are due, which are left out, and what is counted."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rig.evidence.journal import Journal, read_journal
from rig.evidence.sample_files import read_samples, seal
from rig.samplers.loop import EndRequested, Schedule, keep_ticking

MS = 1_000_000


class Clock:
    """Time that passes only when somebody sleeps or works."""

    def __init__(self, over_ms: int) -> None:
        self.now_ns = 0
        self._over_ns = over_ms * MS

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> bool:
        self.now_ns += round(seconds * 1e9)
        return self.now_ns >= self._over_ns


class Looker:
    """A sampler whose looks take as long as told, by number; it writes down when it looked, in ms."""

    facts: Mapping[str, Any] = {"cores": 2}
    unseen: tuple[str, ...] = ("the sea",)

    def __init__(self, clock: Clock, takes_ms: Mapping[int, int]) -> None:
        self._clock, self._takes_ms = clock, takes_ms
        self.looked_ms: list[int] = []
        self.numbers: list[int] = []
        self.finished = False

    def tick(self, number: int) -> None:
        self.looked_ms.append(self._clock.now_ns // MS)
        self.numbers.append(number)
        took_ms = self._takes_ms.get(number, 1)
        if took_ms < 0:
            raise EndRequested
        self._clock.now_ns += took_ms * MS

    def finish(self) -> None:
        self.finished = True


@pytest.mark.parametrize(
    ("takes_ms", "looked_ms", "missed"),
    [
        ({}, [0, 100, 200, 300, 400], 0),
        # Late, but within its period: at once, and the next is due as ever.
        ({1: 150}, [0, 100, 250, 300, 400], 0),
        # Over by whole periods: those are left out.
        ({1: 250}, [0, 100, 350, 400], 1),
        ({0: 320}, [0, 320, 400], 2),
        # Over until the end.
        ({2: 600}, [0, 100, 200], 5),
    ],
)
def test_what_is_late_by_whole_periods_is_left_out(
    takes_ms: Mapping[int, int], looked_ms: list[int], missed: int, tmp_path: Path
) -> None:
    clock = Clock(over_ms=500)
    looker = Looker(clock, takes_ms)
    journal = Journal(tmp_path / "looker.jsonl")
    keep_ticking(looker, journal, 10, clock=clock, sleep=clock.sleep)
    journal.close()
    assert looker.looked_ms == looked_ms
    assert looker.finished
    (report,) = read_samples(tmp_path).reports
    assert (report.ticks, report.missed, report.failure) == (len(looked_ms), missed, "")
    assert (dict(report.facts), report.unseen) == ({"cores": 2}, ("the sea",))


def test_numbers_count_missed_ticks_too() -> None:
    schedule = Schedule(20, start_ns=1000)
    assert schedule.due_ns == 1000
    schedule.advance()
    assert schedule.skip_late_ticks(1000 + 260 * MS) == 4
    assert schedule.number == 5


def test_who_is_told_in_the_middle_of_a_look_still_reports(tmp_path: Path) -> None:
    clock = Clock(over_ms=500)
    journal = Journal(tmp_path / "looker.jsonl")
    keep_ticking(Looker(clock, {2: -1}), journal, 10, clock=clock, sleep=clock.sleep)
    journal.close()
    (report,) = read_samples(tmp_path).reports
    assert (report.ticks, report.failure) == (2, "")


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "pids.jsonl"
    path.write_text('["ticks",5,[[1,0]]]\n["ticks",6,[[1,')
    assert list(read_journal(path)) == [("ticks", 5, [[1, 0]])]
    (report,) = read_samples(tmp_path).reports
    assert report.failure == "it ended without a last report"


def test_sealed_samples_read_as_the_journals_did(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "pids.jsonl")
    journal.add("machine", 7, [(1.0, 2.0, 3.0, 0.0, 0.0, 0.0)])
    journal.add("ticks", 7, [(1, 2)])
    journal.report(8, {"hz": 5.0, "ticks": 1, "missed": 2, "final": True})
    journal.close()
    before = read_samples(tmp_path)
    seal(tmp_path)
    after = read_samples(tmp_path)
    assert not list(tmp_path.glob("*.jsonl"))
    assert after.machine.equals(before.machine)
    assert after.ticks.equals(before.ticks)
    assert after.reports == before.reports
    assert json.loads((tmp_path / "reports.json").read_text())[0]["missed"] == 2
    assert after.activity.equals(before.activity)


def test_a_samplers_process_raises_its_limit_of_open_files(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    code = """
import resource, types
from rig.samplers.loop import main
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
nothing = lambda *arguments: None
main(lambda options, journal: types.SimpleNamespace(
    facts={"files": resource.getrlimit(resource.RLIMIT_NOFILE)[0]}, unseen=(), tick=nothing, finish=nothing))
"""
    options = json.dumps({"journal": str(tmp_path / "j.jsonl"), "hz": 1.0})
    done = subprocess.run(
        [sys.executable, "-c", code], input=options + "\n", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["files"] == (1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16))
