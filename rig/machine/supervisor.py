"""Everything that the rig started is ended, even when the rig itself is killed with SIGKILL.

Flow: a ``Supervisor`` starts one small reaper process and holds the only write end of the pipe that is its stdin. Every
process of the run carries ``RIG_RUN=<token>`` in its environment, so it can be found even if its parent is gone. A
process whose environment may get lost, or may not be read, is registered as well. On a normal exit the context ends
what still runs, removes what was registered, and sends "bye" to the reaper. If the rig dies, the pipe ends without a
"bye", and the reaper does the same work in its place. A parent-death signal would not be enough: the kernel clears it
when the child drops its uid. What the run has changed elsewhere is undone first, by commands that were registered
before the change (``undone_at_end``).

This is not the ordinary way to stop a child: whoever started it stops it. A run in which the supervisor had to end
something says so in its log. Children of a run must be spawned: a process that is forked without exec from the rig
carries no marker, because its environment block is the rig's.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from rig.errors import ConfigError, RigError
from rig.machine import libpq, shared_memory
from rig.machine.child import python_module, start_with_pipes
from rig.machine.orphans import is_adopted
from rig.machine.processes import alive, born_s, words

MARKER = "RIG_RUN"
"""The environment variable that every process of a run carries."""

_TERM_TIMEOUT_S = 3.0
"""From SIGTERM to SIGKILL."""
_POSTGRES_TIMEOUT_S = 8.0
"""From SIGQUIT to SIGKILL of a postmaster: it gives its own backends 5 s before it kills them."""
_REMOVE_TIMEOUT_S = 5.0
_UNDO_TIMEOUT_S = 10.0
_POLL_S = 0.02

_log = logging.getLogger(__name__)

_entered: list[Supervisor] = []
"""Those that this process has entered and not left, the innermost last. They hold for all its threads."""


@dataclass(frozen=True)
class MarkedProcess:
    """A living process of a run. ``run`` is the token of that run. No command line: it may hold a secret."""

    pid: int
    name: str
    run: str


class Supervisor:
    """A context in which everything started with ``environ()`` or registered is ended, and registered paths removed.

    Enter it once. Until it is left ``os.environ`` carries the marker, so that processes which take no environment of
    their own (``multiprocessing`` with spawn) carry it too. Methods may be called from any thread.
    """

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        self._registry = _Registry()
        self._journal = _journal(self.token)
        self._reaper: subprocess.Popen[str] | None = None
        self._outer_token: str | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        # The tracker of multiprocessing lives as long as this process and ends by itself: it gets no marker.
        resource_tracker.ensure_running()
        self._outer_token = os.environ.get(MARKER)
        self._reaper = start_with_pipes(
            [*python_module("rig.machine.supervisor"), self.token],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environ(),
        )
        os.environ[MARKER] = self.token
        _entered.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        reaper = self._started_reaper()
        _entered.remove(self)
        for process in self.processes():
            _log.warning("process %d (%s) was still running at the end of the run", process.pid, process.name)
        _end_run(self.token, self._registry, spared=reaper.pid)
        if self._outer_token is None:
            os.environ.pop(MARKER, None)
        else:
            os.environ[MARKER] = self._outer_token
        self._journal.unlink(missing_ok=True)
        reaper.communicate('["bye"]\n')

    def environ(self) -> dict[str, str]:
        """The environment for a child of this run: this process's own, and the marker."""
        return libpq.withdrawn | dict(os.environ) | self.marker

    @property
    def marker(self) -> dict[str, str]:
        """The marker alone, for a child that must not see the rest."""
        return {MARKER: self.token}

    def remove_at_end(self, path: Path) -> None:
        """Remove the directory ``path`` at the end, whatever it then holds. Missing is fine.

        Raises ``RigError`` where the path is not absolute or the reaper is gone.
        """
        self._register_path("remove", path)

    def stop_postgres_at_end(self, data_dir: Path) -> None:
        """Stop the postmaster of ``data_dir`` at the end, found by its ``postmaster.pid``.

        The marker alone is not enough: to read the environment of another uid's process takes a capability that root
        in a container often lacks. Raises as ``remove_at_end``.
        """
        self._register_path("postgres", data_dir)

    def stop_at_end(self, pid: int) -> None:
        """Stop a child of this process, and all that it started, at the end, as if it carried the marker.

        For a child whose environment may not be readable at the end: a process that rewrites its title overwrites it,
        and root may lack the capability to read that of another uid. Call it before the child is waited for, because
        afterwards another process may have the pid. Raises ``RigError`` where the reaper is gone.
        """
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            self._registry.processes.add(process)
            self._tell_reaper("process", pid, born_s(process))

    def remove_shared_memory_at_end(self, pid: int) -> None:
        """Remove what shared memory a postmaster, which was just started, leaves when it is killed."""
        self._registry.creators.add(pid)
        self._tell_reaper("creator", pid)

    def shared_memory(self) -> list[int]:
        """The segments of PostgreSQL servers of this run that nobody uses any more."""
        return shared_memory.segments_of(self._registry.creators)

    @contextmanager
    def undone_at_end(self, command: Sequence[str], secret_environ: Mapping[str, str] | None = None) -> Iterator[None]:
        """Run ``command`` when the context ends, or at the end of the run, or when the rig is killed meanwhile.

        For what outlives the processes of a run: a setting that was changed, a process of somebody else that was
        stopped. It must do no harm where there is nothing to undo. ``secret_environ`` is added to its environment.
        RigError where it fails or takes too long.
        """
        key, undo = secrets.token_hex(4), Undo(tuple(command), dict(secret_environ or {}))
        self._registry.undos[key] = undo
        self._tell_reaper("undo", key, undo.command, undo.environ)
        try:
            yield
        finally:
            undo.run()
            del self._registry.undos[key]
            self._tell_reaper("undone", key)

    def processes(self) -> list[MarkedProcess]:
        """The living processes of this run, without the rig itself, its reaper and the registered servers."""
        return [
            MarkedProcess(process.pid, _name(process), self.token)
            for process in _find(self.token, self._registry, self._registry.postmasters(), self._started_reaper().pid)
        ]

    def directories(self) -> list[Path]:
        """The directories that were registered for removal, in that order."""
        return list(self._registry.directories)

    def _register_path(self, what: str, path: Path) -> None:
        if not path.is_absolute() or path == Path(path.anchor):
            raise RigError(f"{path} cannot be registered for removal: an absolute path below / is needed")
        self._registry.add(what, path)
        self._tell_reaper(what, str(path))

    def _tell_reaper(self, *order: object) -> None:
        pipe = self._started_reaper().stdin
        assert pipe is not None
        try:
            with self._lock:  # one line is one order: the reaper leaves out one that was cut off
                pipe.write(json.dumps(order) + "\n")
                pipe.flush()
                if not str(order[0]).startswith("undo"):  # what undoes something may hold a secret
                    with suppress(OSError), self._journal.open("a") as journal:
                        journal.write(json.dumps(order) + "\n")
        except BrokenPipeError as error:
            raise RigError("the reaper process of this run died; start the run again") from error

    def _started_reaper(self) -> subprocess.Popen[str]:
        if self._reaper is None:
            raise RigError("the supervisor was used before it was entered")
        return self._reaper


def current_supervisor() -> Supervisor | None:
    """The supervisor that this process entered last and has not left; None where there is none."""
    return _entered[-1] if _entered else None


def register_orphan(pid: int) -> None:
    """Have an adopted child ended with the run, if there is one (``rig.machine.orphans``)."""
    if (supervisor := current_supervisor()) is not None:
        with suppress(RigError):
            supervisor.stop_at_end(pid)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A directory for the time of the context. Under a supervisor it is also removed when this process is killed."""
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        if (supervisor := current_supervisor()) is not None:
            supervisor.remove_at_end(Path(name))
        yield Path(name)


def leftovers() -> list[MarkedProcess]:
    """Processes of runs that are over: marked, and the reaper of their run is gone.

    Only processes whose environment this user may read are found. A run whose reaper still works is not over.
    """
    marked = [(process, token) for process in psutil.process_iter() if (token := _token(process)) is not None]
    marked += [(process, token) for token, registry in _abandoned_runs() for process in registry.living()]
    not_over = set(_unfinished_runs()) if marked else set()
    # A run may have ended between these two steps: its reaper is gone, and so are its processes.
    found = {process: token for process, token in marked if token not in not_over and alive(process)}
    return [MarkedProcess(process.pid, _name(process), token) for process, token in found.items()]


def left_directories() -> list[Path]:
    """The directories of runs whose rig and reaper were both killed."""
    return [path for _, registry in _abandoned_runs() for path in registry.directories if path.exists()]


def _abandoned_runs() -> list[tuple[str, _Registry]]:
    """Runs that left their journal, and whose reaper is gone. A journal that names nothing any more is removed."""
    found = []
    for path in _journal("*").parent.glob(_journal("*").name):
        with suppress(OSError):
            if path.lstat().st_uid != os.geteuid() or not stat.S_ISREG(path.lstat().st_mode):
                continue
            token, registry = path.stem.rpartition("-")[2], _read_orders(path.read_text().splitlines(keepends=True))
            if token in set(_unfinished_runs()) or not path.exists():
                continue
            if registry.living() or any(path.exists() for path in registry.directories):
                found.append((token, registry))
            else:
                path.unlink()
    return found


def _journal(token: str) -> Path:
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


class _Registry:
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
        (self.data_dirs if what == "postgres" else self.directories).append(path)

    def add_process(self, pid: int, born: float) -> None:
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
                if process.uids().effective == pid_file.stat().st_uid and _name(process).startswith("postgres"):
                    found.add(process)
        return {process for process in found if alive(process)}


def _end_run(token: str, registry: _Registry, spared: int | None = None) -> None:
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
        others = set(_find(token, registry, postmasters, spared))
        if not postmasters and not others:
            break
        servers = {each.pid for each in (postmasters | others) - signalled if _name(each).startswith("postgres")}
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


def _find(
    token: str, registry: _Registry, postmasters: Iterable[psutil.Process], spared: int | None
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
        owner = _token(process)
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


def _unfinished_runs() -> Iterator[str]:
    """Tokens of the runs whose reaper lives."""
    for process in psutil.process_iter():
        match words(process):
            case [*_, "-m", "rig.machine.supervisor", token]:
                yield token


def _token(process: psutil.Process) -> str | None:
    with suppress(psutil.Error, OSError):
        return process.environ().get(MARKER)
    return None


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "?"


def _reap(token: str, orders: IO[str]) -> None:
    """The reaper: remember what is registered. When the pipe ends without "bye", end and remove all of it."""
    registry = _read_orders(orders)
    if not registry.dismissed:
        _end_run(token, registry)
        _journal(token).unlink(missing_ok=True)


def _read_orders(orders: Iterable[str]) -> _Registry:
    """What is registered, by the orders of a run; ``dismissed`` when it said that all is done."""
    registry = _Registry()
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


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")  # so that it keeps no directory from being removed
    _reap(sys.argv[1], sys.stdin)
