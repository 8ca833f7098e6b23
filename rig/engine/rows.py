"""A worker's rows: packed one by one, appended to a file as the run goes."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from rig.evidence.scenario_runs import RESULT_STRUCT

_ROW = struct.Struct(RESULT_STRUCT)
pack_row = _ROW.pack
"""One row as bytes: seq, intended_ns, sent_ns, done_ns, connection, status, error kind, worker."""


class RowFile:
    """Appends rows of ``rig.evidence.scenario_runs.RESULT`` to a new file; OSError when the file exists.

    ``pending`` takes packed rows (``pack_row``), which the next flush writes. A timed path appends to it directly.
    """

    def __init__(self, path: Path, worker: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._worker = worker
        self._unwritten = b""
        self._bytes_written = 0
        self.pending: list[bytes] = []

    def add(
        self, seq: int, intended_ns: int, sent_ns: int, done_ns: int, connection: int, status: int, kind: int
    ) -> None:
        """Append one row; it reaches the file with the next flush."""
        self.pending.append(pack_row(seq, intended_ns, sent_ns, done_ns, connection, status, kind, self._worker))

    @property
    def written(self) -> int:
        """Whole rows on disk."""
        return self._bytes_written // _ROW.size

    @property
    def count(self) -> int:
        """Rows so far, on disk or not."""
        return (self._bytes_written + len(self._unwritten)) // _ROW.size + len(self.pending)

    def flush(self) -> None:
        """Hand all rows to the operating system. What an OSError (a full disk) keeps back is written next time."""
        data = self._unwritten + b"".join(self.pending)
        self.pending.clear()
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        finally:
            self._unwritten = data[written:]
            self._bytes_written += written

    def close(self) -> None:
        """Close the file; rows that were not flushed are lost."""
        os.close(self._fd)
