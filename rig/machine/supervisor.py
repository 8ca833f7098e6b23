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
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import IO, Self

import psutil

from rig.errors import RigError
from rig.machine import libpq, shared_memory
from rig.machine.abandoned import MarkedProcess
from rig.machine.child import python_module, start_with_pipes
from rig.machine.processes import born_s
from rig.machine.registry import MARKER, Registry, Undo, end_run, find_processes, journal_of, name_of, read_orders

_log = logging.getLogger(__name__)

_entered: list[Supervisor] = []
"""Those that this process has entered and not left, the innermost last. They hold for all its threads."""


class Supervisor:
    """A context in which everything started with ``environ()`` or registered is ended, and registered paths removed.

    Enter it once. Until it is left ``os.environ`` carries the marker, so that processes which take no environment of
    their own (``multiprocessing`` with spawn) carry it too. Methods may be called from any thread.
    """

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        self._registry = Registry()
        self._journal = journal_of(self.token)
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

    def __exit__(self, *_: object) -> None:
        reaper = self._started_reaper()
        _entered.remove(self)
        for process in self.processes():
            _log.warning("process %d (%s) was still running at the end of the run", process.pid, process.name)
        end_run(self.token, self._registry, spared=reaper.pid)
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
            MarkedProcess(process.pid, name_of(process), self.token)
            for process in find_processes(
                self.token, self._registry, self._registry.postmasters(), self._started_reaper().pid
            )
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


def _reap(token: str, orders: IO[str]) -> None:
    """The reaper: remember what is registered. When the pipe ends without "bye", end and remove all of it."""
    registry = read_orders(orders)
    if not registry.dismissed:
        end_run(token, registry)
        journal_of(token).unlink(missing_ok=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")  # so that it keeps no directory from being removed
    _reap(sys.argv[1], sys.stdin)
