"""The file that a sampler appends to while it runs: one JSON line per tick and table.

A line is ``[table, at_ns, rows]`` or ``["report", at_ns, report]``. Lines go to the kernel every half second, so a
killed sampler loses at most that much. A cut-off last line is skipped on reading. ``rig.evidence.sample_files`` turns
journals into Parquet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

JournalLine = tuple[str, int, Any]
"""Table, time (ns) and rows; or a sampler's report about itself."""
REPORT = "report"
FAILURE = "failure"
_FLUSH_EVERY_NS = 500_000_000
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Journal:
    """Appends to ``path``, which is created if it does not exist."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._lines: list[str] = []
        self._flushed_ns = 0

    def add(self, table: str, at_ns: int, rows: Sequence[Sequence[Any]]) -> None:
        """Rows of a table, without their ``at_ns`` (and ``sampler``)."""
        if rows:
            self._append(at_ns, [table, at_ns, rows])

    def report(self, at_ns: int, report: Mapping[str, Any]) -> None:
        """The sampler's report about itself so far. The last one counts."""
        self._append(at_ns, [REPORT, at_ns, report])

    def failure(self, at_ns: int, why: str) -> None:
        """Why the sampler did not end by itself; written by the process that watches it."""
        self._append(at_ns, [FAILURE, at_ns, why])

    def _append(self, at_ns: int, line: list[Any]) -> None:
        self._lines.append(_encode(line))
        if at_ns - self._flushed_ns >= _FLUSH_EVERY_NS:
            self._flushed_ns = at_ns
            self.flush()

    def flush(self) -> None:
        """Write what was added. OSError where the disk is full: the sampler ends, and its gate is INVALID."""
        if self._lines:
            data = ("\n".join(self._lines) + "\n").encode()
            self._lines.clear()
            while data:
                data = data[os.write(self._descriptor, data) :]

    def close(self) -> None:
        """Write the rest and close."""
        self.flush()
        os.close(self._descriptor)


def read_journal(path: Path) -> Iterator[JournalLine]:
    """The lines of a journal. A broken line, as a kill leaves it, is skipped."""
    with path.open("rb") as file:
        yield from _parse(file)


class JournalTail:
    """Reads a journal while it is still being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0

    def news(self) -> Iterator[JournalLine]:
        """The complete lines since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            whole = file.read().rpartition(b"\n")
        self._read_bytes += len(whole[0]) + len(whole[1])
        yield from _parse(whole[0].splitlines())


def _parse(lines: Iterable[bytes]) -> Iterator[JournalLine]:
    for line in lines:
        try:
            table, at_ns, content = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        yield table, at_ns, content
