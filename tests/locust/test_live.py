"""The live tables: what they show of the samplers' journals, and that a look takes no longer the longer a test is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from rig.evidence.journal import Journal, JournalTail
from rig.evidence.sample_files import journal_path
from rig.evidence.sample_names import PIDS, Role
from rig.locust_bridge import live
from rig.locust_bridge.live import Live

S = 1_000_000_000
PID = 7


class Sampler:
    """A process of the server that keeps half a core busy, seen five times a second, by a clock of the test's."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 100 * S
        self._journal = Journal(journal_path(folder, PIDS))
        self._journal.add("processes", self.now_ns, [(PID, PID, 1, Role.SERVER, "server", 0)])
        monkeypatch.setattr(live, "time", SimpleNamespace(monotonic_ns=lambda: self.now_ns))

    def watch(self, seconds: int, strangers: float | None = None) -> None:
        """Let time pass, in which strangers hold a share of two cores; None: nobody looks at the machine."""
        for _ in range(5 * seconds):
            before_ns, self.now_ns = self.now_ns, self.now_ns + S // 5
            now_s, cpu_s = self.now_ns / S, self.now_ns / S / 2
            row = (PID, Role.SERVER, cpu_s, cpu_s, 0.0, 0.0, 0.0, 0.0, 1, 1, 1, 0, 0, 0, "R")
            self._journal.add("pids", self.now_ns, [row])
            if strangers is not None:
                busy_s = cpu_s + 2 * strangers * now_s
                self._journal.add("machine", self.now_ns, [(busy_s, 0.0, 2 * now_s - busy_s, 0.0, 0.0, 0.0)])
                self._journal.add("others", self.now_ns, [(before_ns, 9, "cc", 2 * strangers / 5)])
        self._journal.report(self.now_ns, {"facts": {"cores": 2, "postgres_found": True}})
        self._journal.flush()


def test_a_look_is_at_the_last_seconds_however_long_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, looking = Sampler(tmp_path, monkeypatch), Live(tmp_path)
    kept = []
    for _ in range(6):
        sampler.watch(10)
        seen = looking.look()
        assert seen == Live(tmp_path).look()
        assert seen["processes"] == [{"pid": str(PID), "role": Role.SERVER, "cores": 0.5}]
        assert seen["roles"] == [{"role": Role.SERVER, "cores": 0.5}]
        kept.append(sum(map(len, looking._lines.values())))
    assert len(set(kept[1:])) == 1


def test_before_anything_was_sampled_there_is_nothing_to_see(tmp_path: Path) -> None:
    assert Live(tmp_path).look() == {"strangers": "", "sessions": [], "roles": [], "processes": []}


@pytest.mark.parametrize(
    ("share", "words"), [(0.02, ""), (0.4, "other processes held 40% of the machine (cc 0.8 cores)")]
)
def test_whoever_else_uses_the_machine_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, words: str
) -> None:
    sampler, looking = Sampler(tmp_path, monkeypatch), Live(tmp_path)
    sampler.watch(10, strangers=share)
    assert looking.look()["strangers"] == words


def test_a_line_that_is_not_whole_is_read_once_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    tail = JournalTail(path)
    path.write_bytes(b'["t",1,[[1]]]\n["t",2,')
    assert list(tail.news()) == [("t", 1, [[1]])]
    assert list(tail.news()) == []
    with path.open("ab") as file:
        file.write(b'[[2]]]\nnone\n["t",3,[[3]]]\n')
    assert list(tail.news()) == [("t", 2, [[2]]), ("t", 3, [[3]])]
