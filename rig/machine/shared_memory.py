"""Shared memory that a killed PostgreSQL leaves: nobody would remove it before the machine is started again.

A postmaster makes a segment of System V, by which a second one sees that the data directory is in use, and files in
``/dev/shm``. Who made a segment is known also after its end. Whose the files are only its memory map says.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

_TABLE = Path("/proc/sysvipc/shm")
_REMOVE = 0
_FILE = re.compile(r" (/dev/shm/PostgreSQL\.[0-9]+)$", re.MULTILINE)


def files_of(pids: Iterable[int]) -> set[Path]:
    """PostgreSQL's files in ``/dev/shm`` that these processes have mapped."""
    found: set[Path] = set()
    for pid in pids:
        with suppress(OSError, UnicodeDecodeError):
            found.update(map(Path, _FILE.findall(Path(f"/proc/{pid}/maps").read_text())))
    return found


def segments_of(creators: Collection[int]) -> list[int]:
    """The segments of System V that these processes made and nobody uses."""
    with suppress(OSError):
        head, *rows = (line.split() for line in _TABLE.read_text().splitlines())
        shmid, creator, users = (head.index(name) for name in ("shmid", "cpid", "nattch"))
        return [int(row[shmid]) for row in rows if int(row[creator]) in creators and row[users] == "0"]
    return []


def remove(segments: Iterable[int], files: Iterable[Path]) -> None:
    """Remove them, as far as this user may."""
    for segment in segments:
        ctypes.CDLL(None).shmctl(segment, _REMOVE, None)
    for file in files:
        with suppress(OSError):
            file.unlink()
