"""A worker's rows: packed one by one, appended to a file as the run goes."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from rig.evidence.scenario_runs import RESULT_STRUCT

_ROW = struct.Struct(RESULT_STRUCT)
_ROWS_BUFFERED = 8192


class RowFile:
    """Appends rows of ``rig.evidence.scenario_runs.RESULT`` to a new file. OSError when the disk is full or the file
    exists."""

    def __init__(self, path: Path, worker: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._buffer = bytearray(_ROWS_BUFFERED * _ROW.size)
        self._end = 0
        self._worker = worker
        self._bytes_written = 0
        self.written = 0
        """Rows on disk."""

    def add(
        self, seq: int, intended_ns: int, sent_ns: int, done_ns: int, connection: int, status: int, kind: int
    ) -> None:
        """Append one row; it reaches the file with the next flush."""
        end = self._end
        _ROW.pack_into(self._buffer, end, seq, intended_ns, sent_ns, done_ns, connection, status, kind, self._worker)
        self._end = end + _ROW.size
        if self._end == len(self._buffer):
            self.flush()

    @property
    def added(self) -> int:
        """Rows so far, on disk or not."""
        return (self._bytes_written + self._end) // _ROW.size

    def flush(self) -> None:
        """Hand everything to the operating system. What an OSError kept back stays to be handed over next time."""
        written = 0
        with memoryview(self._buffer) as rows:
            try:
                while written < self._end:
                    written += os.write(self._fd, rows[written : self._end])
            finally:
                self._end -= written
                rows[: self._end] = rows[written : written + self._end]
                self._bytes_written += written
        self.written = self._bytes_written // _ROW.size

    def close(self) -> None:
        """Close the file; what was not flushed is lost."""
        os.close(self._fd)
