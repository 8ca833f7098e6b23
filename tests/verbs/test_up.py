"""``rig up`` and ``rig down``: what stands is told from what merely has its pid; a start that fails says why."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from rig.errors import ConfigError, EvidenceError, RigError, Unavailable, UsageError
from rig.machine.processes import born_s
from rig.profile import bundled_profile, load_profile
from rig.run.job import Job
from rig.settings import Settings
from rig.verbs.up import RunningTarget, _read, _state_file, _write, start, stop


@pytest.fixture
def job(tmp_path: Path) -> Job:
    path = bundled_profile()
    return Job("up", (), Settings(out=tmp_path), load_profile(path), path.parent)


def test_another_process_of_the_same_pid_is_not_what_stands(tmp_path: Path) -> None:
    """Its command line may well hold the word rig."""
    state = _state_file(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()  # rig"], stdin=subprocess.PIPE) as other:
        born = born_s(psutil.Process(other.pid))
        standing = RunningTarget(other.pid, born, "http://127.0.0.1:9", "", "", {})
        _write(state, standing)
        assert _read(state) == standing
        _write(state, replace(standing, born_s=born - 60))
        assert _read(state) is None
        assert stop(tmp_path) == f"no target is running that was started with --out {tmp_path}"
        assert other.poll() is None
        other.communicate(b"\n")
    _write(state, standing)
    assert _read(state) is None


def test_exports_are_words_of_a_shell() -> None:
    dsn = "host=db password='it''s $HOME'"
    described = RunningTarget(1, 0.0, "http://127.0.0.1:9", dsn, "", {}).shell_lines(Path("packs of mine"))
    assert shlex.quote(str(Path("packs of mine").absolute())) in described.splitlines()[0]
    exports = [shlex.split(line) for line in described.splitlines() if line.startswith("export ")]
    assert ["export", f"RIG_TRUTH_DSN={dsn}"] in exports
    assert all(len(export) == 2 for export in exports)


@pytest.mark.parametrize(
    ("code", "said", "kind", "quoted"),
    [
        (64, "rig: the target does not take --defect no-such", UsageError, "does not take --defect no-such"),
        (78, "process 7 was still running\nrig: RIG_PG_DSN is wrong\nmend it\n", ConfigError, "is wrong\nmend it"),
        (69, "rig: nobody listens", Unavailable, "nobody listens"),
        (3, "rig: the log cannot be written", EvidenceError, "the log cannot be written"),
        (70, "rig: a fault of the rig itself: KeyError\nrig: run it again", RigError, "itself: KeyError (log"),
        (-9, "", Unavailable, "it said nothing"),
        (1, "Traceback\nImportError: no rig", Unavailable, "ImportError: no rig"),
    ],
)
def test_a_start_that_fails_ends_as_what_was_started_did(
    job: Job, monkeypatch: pytest.MonkeyPatch, code: int, said: str, kind: type[RigError], quoted: str
) -> None:
    class Ended:
        returncode, pid = code, 0

        def __init__(self, command: list[str], stdout: IO[bytes], **how: Any) -> None:
            stdout.write(said.encode())

        def poll(self) -> int:
            return code

        def wait(self, timeout_s: float) -> int:
            return code

    monkeypatch.setattr(subprocess, "Popen", Ended)
    with pytest.raises(RigError) as caught:
        start(job)
    assert type(caught.value) is kind
    assert quoted in str(caught.value)
