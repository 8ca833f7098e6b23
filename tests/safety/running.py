"""A run of the rig as a user starts it, watched from outside: its processes, what they listen on, what it leaves."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from rig.machine.registry import MARKER
from tests.cli.commands import command, environment

SPY = Path(__file__).parent / "spy"
_EVERY_S = 0.05
_TIMEOUT_S = 110
TOKENS = re.compile(rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}|PRIVATE KEY|\"d\": ?\"[\w-]{30,}")
"""A signed token, or a private key, whoever made it."""


@dataclass(eq=False)
class Watched:
    """What was seen of a command's processes, and what it said. ``out`` and ``err`` are all it printed."""

    folder: Path
    code: int | None = None
    out: bytes = b""
    err: bytes = b""
    pids: set[int] = field(default_factory=set)
    command_lines: set[tuple[str, ...]] = field(default_factory=set)
    listening: set[tuple[str, str, int]] = field(default_factory=set)
    """(program, address, port)"""
    readable_environments: set[str] = field(default_factory=set)
    """Programs whose environment others than its owner may read."""
    looks: int = 0

    @property
    def secrets(self) -> dict[str, str]:
        """Every secret that was drawn, with the module that drew it."""
        lines = (self.folder / "book").read_text().splitlines()
        return {value: caller for caller, value in (line.split(" ", 1) for line in lines)}

    @property
    def pack(self) -> Path:
        """The one pack that the run left, finished or not."""
        (pack,) = (path for path in (self.folder / "results").iterdir() if path.is_dir() and path.name[0] != ".")
        return pack

    def told(self, more: Sequence[str] = ()) -> list[str]:
        """Where a secret of the run stands that should stand nowhere: files of the pack, what was printed, argv."""
        wanted = {secret.encode() for secret in (*self.secrets, *more)}
        places = {
            path.relative_to(self.pack).as_posix(): path.read_bytes() for path in self.pack.rglob("*") if path.is_file()
        }
        places |= {"stdout": self.out, "stderr": self.err}
        places |= {f"argv of {words[:4]}": "\0".join(words).encode() for words in self.command_lines}
        found = [
            f"{place}: {secret.decode()[:4]}…" for place, data in places.items() for secret in wanted if secret in data
        ]
        return found + [f"{place}: a token or key" for place, data in places.items() if TOKENS.search(data)]


class Run:
    """A rig command in a process of its own, watched until it has ended; ``folder`` gets its results and the book."""

    def __init__(self, folder: Path, words: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.seen = Watched(folder)
        (folder / "book").touch()
        spying = {"PYTHONPATH": str(SPY), "SPY_BOOK": str(folder / "book")}
        self.process = subprocess.Popen(
            [*command(*words), "--out", str(folder / "results")],
            env={**environment(env or {}), **spying},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.ended()
        self._over.set()
        self._watcher.join()

    def ended(self) -> Watched:
        """Wait for the end."""
        self.seen.out, self.seen.err = self.process.communicate(timeout=_TIMEOUT_S)
        self.seen.code = self.process.returncode
        self._over.set()
        self._watcher.join()
        return self.seen

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            for process in self._tree():
                try:
                    self._look(process)
                except (psutil.Error, OSError):  # it has ended meanwhile
                    continue
            self.seen.looks += 1

    def _tree(self) -> list[psutil.Process]:
        """The command and its descendants."""
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []

    def _look(self, process: psutil.Process) -> None:
        seen = self.seen
        seen.command_lines.add(tuple(process.cmdline()))
        seen.pids.add(process.pid)
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                seen.listening.add((process.name(), connection.laddr.ip, connection.laddr.port))
        mode = stat.S_IMODE(Path(f"/proc/{process.pid}/environ").stat().st_mode)
        if mode & 0o077:
            seen.readable_environments.add(process.name())


def left_running(seen: Watched) -> list[int]:
    """Processes of the run that go on after it."""
    return [process.pid for process in psutil.process_iter() if process.pid in seen.pids and _is_marked(process)]


def _is_marked(process: psutil.Process) -> bool:
    try:
        return MARKER in process.environ()
    except (psutil.Error, OSError):
        return False
