"""What fleet members do in tests: importable, as a fleet asks for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rig.storms.fleet import Barrier


def number(number: int, payload: Any, barrier: Barrier) -> tuple[int, Any, list[str]]:
    barrier()
    return number, payload, sorted(name for name in ("pandas", "numpy", "rig.cli") if name in sys.modules)


def mixed(number: int, payload: Any, barrier: Barrier) -> str:
    """Member 1 raises before the barrier, 2 after it, 3 dies, 4 hangs, 5 returns what cannot be sent."""
    if number == 1:
        raise ValueError("before")
    barrier()
    match number:
        case 2:
            raise ValueError("after")
        case 3:
            os.kill(os.getpid(), signal.SIGKILL)
        case 4:
            time.sleep(60)
        case 5:
            return lambda: None  # type: ignore[return-value]  # cannot be pickled, which is the point
    return "well"


def twice(number: int, payload: Any, barrier: Barrier) -> None:
    barrier()
    barrier()


def until_file(number: int, payload: str, barrier: Barrier) -> str:
    barrier()
    while not Path(payload).exists():
        time.sleep(0.01)
    return "seen"


def unready(number: int, payload: Any, barrier: Barrier) -> None:
    if number == 0:
        time.sleep(60)
    barrier()


def parent(number: int, payload: str, barrier: Barrier) -> None:
    """Start a process of its own, say its pid, and hang."""
    child = subprocess.Popen(["sleep", "600"])
    (Path(payload) / "child").write_text(str(child.pid))
    barrier()
    child.wait()


def leader(folder: Path) -> None:
    """A process with a fleet of three, which dies by SIGKILL while they work; their pids lie in ``folder``."""
    from rig.storms.fleet import Fleet

    fleet = Fleet(3, mixed_sleep, str(folder))
    fleet.start()
    fleet.release()
    (folder / "pids").write_text(" ".join(map(str, fleet.pids)))
    while len(list(folder.glob("went-*"))) < 3:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def mixed_sleep(number: int, payload: str, barrier: Barrier) -> None:
    barrier()
    (Path(payload) / f"went-{number}").touch()
    time.sleep(600)


if __name__ == "__main__":
    leader(Path(sys.argv[1]))
