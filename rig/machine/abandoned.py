"""What runs that are over have left on this machine: processes that live on, directories that nobody removed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from rig.machine.processes import alive, words
from rig.machine.registry import Registry, journal_of, name_of, read_orders, token_of


@dataclass(frozen=True)
class MarkedProcess:
    """A living process of a run. ``run`` is the token of that run. No command line: it may hold a secret."""

    pid: int
    name: str
    run: str


def leftovers() -> list[MarkedProcess]:
    """Processes of runs that are over: marked, and the reaper of their run is gone.

    Only processes whose environment this user may read are found. A run whose reaper still works is not over.
    """
    marked = [(process, token) for process in psutil.process_iter() if (token := token_of(process)) is not None]
    marked += [(process, token) for token, registry in _abandoned_runs() for process in registry.living()]
    not_over = set(_unfinished_runs()) if marked else set()
    # A run may have ended between these two steps: its reaper is gone, and so are its processes.
    found = {process: token for process, token in marked if token not in not_over and alive(process)}
    return [MarkedProcess(process.pid, name_of(process), token) for process, token in found.items()]


def left_directories() -> list[Path]:
    """The directories of runs whose rig and reaper were both killed."""
    return [path for _, registry in _abandoned_runs() for path in registry.directories if path.exists()]


def _abandoned_runs() -> list[tuple[str, Registry]]:
    """Runs that left their journal, and whose reaper is gone. A journal that names nothing any more is removed."""
    found = []
    for path in journal_of("*").parent.glob(journal_of("*").name):
        with suppress(OSError):
            if path.lstat().st_uid != os.geteuid() or not stat.S_ISREG(path.lstat().st_mode):
                continue
            token, registry = path.stem.rpartition("-")[2], read_orders(path.read_text().splitlines(keepends=True))
            if token in set(_unfinished_runs()) or not path.exists():
                continue
            if registry.living() or any(path.exists() for path in registry.directories):
                found.append((token, registry))
            else:
                path.unlink()
    return found


def _unfinished_runs() -> Iterator[str]:
    """Tokens of the runs whose reaper lives."""
    for process in psutil.process_iter():
        match words(process):
            case [*_, "-m", "rig.machine.supervisor", token]:
                yield token
