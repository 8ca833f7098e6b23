"""Which file a log was before a run, so that one that was rotated meanwhile is searched in all its parts.

``mark_logs`` before the run; ``LogMark`` afterwards says which files are parts of the log, and what of it is gone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from rig.machine.files import open_file

_END_BYTES = 4096
_CLOCK_S = 2.0
"""A file system's clock may be behind the machine's by less."""


@dataclass(frozen=True, slots=True)
class LogMark:
    """Where a log lay at ``at_unix``, which file it was, its length, and a digest of its end in hex.

    Without a file there is only where it will lie: ``inode`` is 0.
    """

    path: str
    at_unix: float
    device: int = 0
    inode: int = 0
    size_bytes: int = 0
    end: str = ""

    @property
    def was_there(self) -> bool:
        """Whether there was a file."""
        return self.inode > 0

    def is_of(self, state: os.stat_result) -> bool:
        """Whether a file is the marked one."""
        return (state.st_dev, state.st_ino) == (self.device, self.inode)

    def is_kept_in(self, file: BinaryIO) -> bool:
        """Whether the marked file has only grown since; an empty one tells nothing."""
        return self.size_bytes > 0 and _digest_end(file, self.size_bytes) == self.end

    def find_parts(self) -> Iterator[tuple[Path, os.stat_result]]:
        """The files that the log may have been rotated into: they are named like it, and were written since."""
        own = Path(self.path)
        for each in sorted(own.parent.glob("*")):
            is_named_like = each.name.startswith(own.name) or (
                bool(own.suffix) and each.name.startswith(own.stem) and each.suffix == own.suffix
            )
            if is_named_like and each.is_file():
                state = each.stat()
                if self.is_of(state) or state.st_mtime >= self.at_unix - _CLOCK_S:
                    yield each, state


def mark_logs(paths: Iterable[Path]) -> dict[str, LogMark]:
    """Note which files some logs are, by their names; of one that is not there yet, or cannot be read, only where."""
    marks = {}
    for path in paths:
        where = str(path.resolve())
        marks[str(path)] = LogMark(where, time.time())
        with suppress(OSError), open_file(path) as file:
            state = os.fstat(file.fileno())
            end = _digest_end(file, state.st_size)
            marks[str(path)] = LogMark(where, time.time(), state.st_dev, state.st_ino, state.st_size, end)
    return marks


def _digest_end(file: BinaryIO, size_bytes: int) -> str:
    """A digest of what stands before this place."""
    begin = max(0, size_bytes - _END_BYTES)
    file.seek(begin)
    return sha256(file.read(size_bytes - begin)).hexdigest()
