"""The kernel's counters of a process, read cheaply enough for hundreds of times a second.

A process's files stay open. Once it has ended they give an error, and never the numbers of another process with the
same pid. Units: seconds, bytes; ticks of the kernel's clock are 10 ms on most machines.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Since Linux 6.2 the size of the folder is the number of open files.
_COUNTS_FDS = os.stat("/proc/self/fd").st_size > 0 if Path("/proc/self/fd").exists() else False  # noqa: PTH116


class Gone(Exception):
    """The process has ended and was waited for."""


@dataclass(frozen=True, slots=True)
class Birth:
    """Which process it is, by pid and start, and what may change. ``started_s``: seconds since boot."""

    pid: int
    ppid: int = field(compare=False)
    session: int = field(compare=False)
    name: str = field(compare=False)
    started_s: float


class Reading(NamedTuple):
    """Counters since a process's start, in the order of the frame ``pids``."""

    cpu_s: float
    user_s: float
    system_s: float
    reaped_user_s: float
    reaped_system_s: float
    run_delay_s: float | None
    rss_bytes: int
    threads: int
    fds: int
    voluntary: int
    involuntary: int
    written_bytes: int
    state: str

    @property
    def zombie(self) -> bool:
        """It has ended, and these are its last counters."""
        return self.state == "Z"


def pids() -> set[int]:
    """Every process of this namespace."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - once a second: no Paths


def birth(pid: int) -> Birth:
    """Parent, session, name and start of a process; Gone when there is none."""
    return birth_and_cpu_s(pid)[0]


def birth_and_cpu_s(pid: int) -> tuple[Birth, float]:
    """``birth``, and the CPU seconds that the process has used; Gone when there is none."""
    head, fields = _stat(_read_file(f"/proc/{pid}/stat"))
    name = head.partition(b"(")[2].decode(errors="replace")
    cpu_s = (int(fields[11]) + int(fields[12])) * TICK_S
    return Birth(pid, int(fields[1]), int(fields[3]), name, int(fields[19]) * TICK_S), cpu_s


def command(pid: int) -> str:
    """The command line, or the title that a process gave itself; empty for a kernel thread."""
    return _read_file(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def innermost_pid(pid: int) -> int:
    """The pid that a process has in its own namespace."""
    status = _read_file(f"/proc/{pid}/status")
    at = status.find(b"\nNSpid:")
    return int(status[at + 7 : status.index(b"\n", at + 1)].split()[-1]) if at >= 0 else pid


class ProcessFiles:
    """The open counter files of one process; its account of written bytes only if ``writes``.

    Gone when it has ended, PermissionError where this user may not read them, OSError where too many files are open.
    """

    def __init__(self, pid: int, *, writes: bool = False) -> None:
        self._fds_folder = f"/proc/{pid}/fd"
        self._files: list[int] = []
        try:
            for name in ("stat", "status", "schedstat"):
                self._files.append(_open(f"/proc/{pid}/{name}", optional=name == "schedstat"))
            self._files.append(_open_io(pid) if writes else -1)
        except BaseException:
            self.close()
            raise

    def read(self) -> Reading:
        """The counters now; Gone when it has ended."""
        stat, status, schedstat, io = self._files
        try:
            _, fields = _stat(os.pread(stat, 1024, 0))
            voluntary, involuntary = _parse_switches(os.pread(status, 4096, 0))
            ran_ns, delayed_ns, *_ = map(int, os.pread(schedstat, 128, 0).split()) if schedstat >= 0 else (None, None)
        except (ProcessLookupError, IndexError):
            raise Gone from None
        user_s, system_s, threads = int(fields[11]) * TICK_S, int(fields[12]) * TICK_S, int(fields[17])
        return Reading(
            # Exact to the nanosecond, but it counts only the main thread.
            cpu_s=ran_ns / 1e9 if ran_ns is not None and threads == 1 else user_s + system_s,
            user_s=user_s,
            system_s=system_s,
            reaped_user_s=int(fields[13]) * TICK_S,
            reaped_system_s=int(fields[14]) * TICK_S,
            run_delay_s=delayed_ns / 1e9 if delayed_ns is not None else None,
            rss_bytes=int(fields[21]) * _PAGE_BYTES,
            threads=threads,
            fds=_count_fds(self._fds_folder),
            voluntary=voluntary,
            involuntary=involuntary,
            written_bytes=_read_written_bytes(io) if io >= 0 else -1,
            state=fields[0].decode(),
        )

    def close(self) -> None:
        for file in self._files:
            if file >= 0:
                os.close(file)
        self._files.clear()


class MachineFile:
    """The machine's own account, summed over all cores."""

    def __init__(self) -> None:
        self._file = _open("/proc/stat")

    def read(self) -> tuple[float, float, float, float, float]:
        """Seconds of user, system (interrupts among them), idle, iowait and steal since boot."""
        line = os.pread(self._file, 256, 0).partition(b"\n")[0]
        user, nice, system, idle, iowait, irq, softirq, steal, *_ = (int(word) * TICK_S for word in line.split()[1:])
        return user + nice, system + irq + softirq, idle, iowait, steal


def _stat(data: bytes) -> tuple[bytes, list[bytes]]:
    """The parts before and after the name, which may hold any characters, parentheses included."""
    head, _, tail = data.rpartition(b")")
    return head, tail.split()


def _parse_switches(status: bytes) -> tuple[int, int]:
    at = status.rfind(b"\nvoluntary_ctxt_switches:")
    if at < 0:
        return 0, 0
    words = status[at:].split(None, 4)
    return int(words[1]), int(words[3])


def _read_written_bytes(io: int) -> int:
    """Bytes that a process had written to files; -1 where its user has changed, Gone when it has ended."""
    try:
        words = os.pread(io, 512, 0).split()
    except PermissionError:
        return -1
    except ProcessLookupError:
        raise Gone from None
    return int(words[words.index(b"write_bytes:") + 1])


def _open_io(pid: int) -> int:
    """The account of what a process reads and writes; -1 where this user may not see it or the kernel has none."""
    try:
        return _open(f"/proc/{pid}/io", optional=True)
    except PermissionError:
        return -1


def _count_fds(folder: str) -> int:
    try:
        return os.stat(folder).st_size if _COUNTS_FDS else len(os.listdir(folder))  # noqa: PTH116, PTH208
    except OSError:
        return -1


def _read_file(path: str) -> bytes:
    file = _open(path)
    try:
        return os.read(file, 1 << 16)
    except ProcessLookupError:
        raise Gone from None
    finally:
        os.close(file)


def _open(path: str, *, optional: bool = False) -> int:
    """An open descriptor; -1 for an optional file that this kernel does not have."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        if optional:
            return -1
        raise Gone from None
