"""What is ended, removed and undone after a run, and how: by its supervisor, or by the reaper in its place."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from rig.errors import ConfigError, RigError
from rig.machine import shared_memory
from rig.machine.orphans import is_adopted
from rig.machine.processes import alive, born_s

MARKER = "RIG_RUN"
"""The environment variable that every process of a run carries."""

_TERM_TIMEOUT_S = 3.0
"""From SIGTERM to SIGKILL."""
_POSTGRES_TIMEOUT_S = 8.0
"""From SIGQUIT to SIGKILL of a postmaster: it gives its own backends 5 s before it kills them."""
_REMOVE_TIMEOUT_S = 5.0
_UNDO_TIMEOUT_S = 10.0
_POLL_S = 0.02


@dataclass(frozen=True)
class Undo:
    """A command that undoes what a run has changed."""

    command: tuple[str, ...]
    environ: Mapping[str, str]

    def run(self) -> None:
        """RigError where it fails. Its words are not repeated: they may hold a secret."""
        try:
            subprocess.run(
                self.command,
                env=dict(os.environ) | dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_UNDO_TIMEOUT_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            why = (
                f"exit code {error.returncode}"
                if isinstance(error, subprocess.CalledProcessError)
                else "it did not end"
            )
            why = error.strerror or why if isinstance(error, OSError) else why
            raise RigError(f"what the run has changed could not be undone by {self.command[0]}: {why}") from None


class Registry:
    """What is ended or removed after a run (directories, PostgreSQL servers, processes), and what is undone."""

    def __init__(self) -> None:
        self.dismissed = False
        self.undos: dict[str, Undo] = {}
        self.directories: list[Path] = []
        self.data_dirs: list[Path] = []
        self.processes: set[psutil.Process] = set()
        self.creators: set[int] = set()
        """Pids of postmasters, also of those that ended."""

    def add(self, what: str, path: Path) -> None:
        """A directory, or (``postgres``) that of a server."""
        (self.data_dirs if what == "postgres" else self.directories).append(path)

    def add_process(self, pid: int, born: float) -> None:
        """A process that was born then, of the boot's clock."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if born_s(process) == born:  # else a later process with the same pid
                self.processes.add(process)

    def living(self) -> set[psutil.Process]:
        """Those of the registered processes that live."""
        return {process for process in self.processes if alive(process)} | self.postmasters()

    def postmasters(self) -> set[psutil.Process]:
        """The registered servers that live. A pid file may be stale: the process must be the file's owner's."""
        found = set()
        for data_dir in self.data_dirs:
            with suppress(OSError, ValueError, IndexError, psutil.Error):
                pid_file = data_dir / "postmaster.pid"
                process = psutil.Process(int(pid_file.read_text().split()[0]))
                if process.uids().effective == pid_file.stat().st_uid and name_of(process).startswith("postgres"):
                    found.add(process)
        return {process for process in found if alive(process)}


def end_run(token: str, registry: Registry, spared: int | None = None) -> None:
    """Undo what is left to be undone, end every process of the run but ``spared``, then remove its directories.

    Within the timeouts above.
    """
    for undo in reversed(list(registry.undos.values())):
        with suppress(RigError):
            undo.run()
    signalled: set[psutil.Process] = set()
    files: set[Path] = set()
    started = time.monotonic()
    while (waited_s := time.monotonic() - started) < _POSTGRES_TIMEOUT_S + 2.0:
        postmasters = registry.postmasters()
        others = set(find_processes(token, registry, postmasters, spared))
        if not postmasters and not others:
            break
        servers = {each.pid for each in (postmasters | others) - signalled if name_of(each).startswith("postgres")}
        registry.creators |= servers
        files |= shared_memory.files_of(servers)
        # Immediate shutdown, because the data is removed anyway. No SIGKILL to a backend; to a postmaster only at last.
        _tell(postmasters, signal.SIGQUIT, signalled, kill=waited_s > _POSTGRES_TIMEOUT_S)
        _tell(others, signal.SIGTERM, signalled, kill=waited_s > _TERM_TIMEOUT_S)
        time.sleep(_POLL_S)
    shared_memory.remove(shared_memory.segments_of(registry.creators), files)
    deadline = time.monotonic() + _REMOVE_TIMEOUT_S
    while remaining := [path for path in registry.directories if path.exists()]:
        for path in remaining:
            shutil.rmtree(path, ignore_errors=True)  # a process that is ending may still write: tried again
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)


def _tell(
    processes: Iterable[psutil.Process], first: signal.Signals, signalled: set[psutil.Process], *, kill: bool
) -> None:
    """Send ``first`` to each process once, or SIGKILL when its time is over."""
    for process in processes:
        with suppress(psutil.Error):
            if kill:
                process.kill()
            elif process not in signalled:
                signalled.add(process)
                process.send_signal(first)
                process.send_signal(signal.SIGCONT)  # a stopped process would not see the first


def find_processes(
    token: str, registry: Registry, postmasters: Iterable[psutil.Process], spared: int | None
) -> list[psutil.Process]:
    """Living processes of the run and their descendants; not this process, not ``spared``, not the servers.

    A process belongs to the run when it carries its marker or was registered. Descendants count because a process that
    rewrites its title may overwrite its environment. Descendants with the marker of another run do not count: this run
    started another rig, whose own reaper ends them.
    """
    apart = {process.pid for process in postmasters} | {os.getpid(), spared}
    children: dict[int, list[psutil.Process]] = {}
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        owner = token_of(process)
        if process.pid in apart or not alive(process):
            continue
        if owner == token or process in registry.processes:
            found.append(process)
        elif owner is None:
            with suppress(psutil.Error):
                children.setdefault(process.ppid(), []).append(process)
    found += [process for process in children.pop(os.getpid(), []) if is_adopted(process.pid)]
    for process in found:  # grows while it is walked
        found += children.pop(process.pid, [])
    return found


def read_orders(orders: Iterable[str]) -> Registry:
    """What is registered, by the orders of a run; ``dismissed`` when it said that all is done."""
    registry = Registry()
    for line in orders:
        match json.loads(line) if line.endswith("\n") else None:
            case ["bye"]:
                registry.dismissed = True
                break
            case ["undo", str(key), list(command), dict(environ)]:
                registry.undos[key] = Undo(tuple(command), environ)
            case ["undone", str(key)]:
                registry.undos.pop(key, None)
            case [("remove" | "postgres") as what, str(path)]:
                registry.add(what, Path(path))
            case ["process", int(pid), float(born)]:
                registry.add_process(pid, born)
            case ["creator", int(pid)]:
                registry.creators.add(pid)
    return registry


def token_of(process: psutil.Process) -> str | None:
    """The token of the run that a process belongs to; None where it carries no marker that may be read."""
    with suppress(psutil.Error, OSError):
        return process.environ().get(MARKER)
    return None


def name_of(process: psutil.Process) -> str:
    """The name of a process; ``?`` where it is gone."""
    try:
        return process.name()
    except psutil.Error:
        return "?"


def journal_of(token: str) -> Path:
    """Where the orders to a run's reaper are written down, too, for the case that it is killed as well."""
    return _temporary_directory() / f"rig-run-{token}.jsonl"


def _temporary_directory() -> Path:
    """Where temporary files go; ConfigError where there is no such place."""
    try:
        return Path(tempfile.gettempdir()).absolute()
    except FileNotFoundError:
        raise ConfigError(
            "there is no directory for temporary files: neither $TMPDIR nor /tmp nor /var/tmp can be written; "
            "set TMPDIR to one that can (docker run --tmpfs /tmp)"
        ) from None
