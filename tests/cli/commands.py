"""Running the command line as a user does: in a process of its own, in a directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUICK = ("--null-seconds", "0.1", "--no-ruler", "--last-look", "0")
_TIMEOUT_S = 110


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        """What ``--json`` printed."""
        return json.loads(self.out)


def command(*words: str) -> list[str]:
    """The command line of a rig verb."""
    return [sys.executable, "-m", "rig", *words]


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """This environment without what would change where the rig finds its database."""
    left_out = ("RIG_TRUTH_DSN", "RIG_PG_DSN", "PG_BIN", "RIG_PROFILE")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | dict(more)


def rig(
    *words: str, env: Mapping[str, str] | None = None, timeout_s: float = _TIMEOUT_S, folder: Path | None = None
) -> Ended:
    """Run to the end, in ``folder``."""
    done = subprocess.run(
        command(*words), env=environment(env or {}), capture_output=True, text=True, timeout=timeout_s, cwd=folder
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def _as_in_a_terminal() -> None:
    """A shell starts background jobs with Ctrl-C ignored, nohup with a hang-up, and a child inherits that."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Going:
    """A command that goes on; its stderr is read line by line."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command(*words),
            env=environment(env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_as_in_a_terminal,
        )
        self.lines: list[str] = []

    def wait_for(self, text: str) -> None:
        """Read stderr until a line holds ``text``."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError(f"{text!r} never came: {''.join(self.lines)}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command alone."""
        self.process.send_signal(number)

    def end(self, timeout_s: float = _TIMEOUT_S) -> Ended:
        """Wait until it has ended."""
        out, err = self.process.communicate(timeout=timeout_s)
        return Ended(self.process.returncode, out, "".join(self.lines) + err)


def only_pack(results: Path) -> Path:
    """The one pack in a results directory."""
    (pack,) = (path for path in results.iterdir() if path.is_dir() and not path.name.startswith("."))
    return pack
