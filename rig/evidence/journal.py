"""The file that a sampler appends to as it goes: one JSON line per tick and table.

A line is ``[table, at_ns, rows]``, or ``["report", at_ns, report]``. Lines are handed to the kernel every half second,
so a killed sampler loses that much and a cut-off last line is left out on reading. Not for analysis: ``frames`` makes
Parquet of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

JournalLine = tuple[str, int, Any]
"""Table, time (ns) and rows; or what a sampler says of itself."""
REPORT = "report"
FAILURE = "failure"
_FLUSH_EVERY_NS = 500_000_000
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Journal:
    """Appends to ``path``, which is made where it is missing."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._lines: list[str] = []
        self._flushed_ns = 0

    def add(self, table: str, at_ns: int, rows: Sequence[Sequence[Any]]) -> None:
        """Rows of a table, without their ``at_ns`` (and ``sampler``)."""
        if rows:
            self._append(at_ns, [table, at_ns, rows])

    def report(self, at_ns: int, report: Mapping[str, Any]) -> None:
        """What the sampler says of itself so far; the last one counts."""
        self._append(at_ns, [REPORT, at_ns, report])

    def failure(self, at_ns: int, why: str) -> None:
        """Why the sampler came to no end of its own; written by who watched it."""
        self._append(at_ns, [FAILURE, at_ns, why])

    def _append(self, at_ns: int, line: list[Any]) -> None:
        self._lines.append(_encode(line))
        if at_ns - self._flushed_ns >= _FLUSH_EVERY_NS:
            self._flushed_ns = at_ns
            self.flush()

    def flush(self) -> None:
        """Hand over what was added. OSError where the disk does not take it: the sampler ends, and that is seen."""
        if self._lines:
            data = ("\n".join(self._lines) + "\n").encode()
            self._lines.clear()
            while data:
                data = data[os.write(self._descriptor, data) :]

    def close(self) -> None:
        """Hand over the rest and close."""
        self.flush()
        os.close(self._descriptor)


def read_journal(path: Path) -> Iterator[JournalLine]:
    """The lines of a journal. A line that is none, as a kill leaves it, is left out."""
    with path.open("rb") as file:
        yield from _parse(file)


class JournalTail:
    """A journal that is still written to, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0

    def news(self) -> Iterator[JournalLine]:
        """The lines since the last time; one that is not whole yet is left for the next."""
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            whole = file.read().rpartition(b"\n")
        self._read_bytes += len(whole[0]) + len(whole[1])
        yield from _parse(whole[0].splitlines())


def _parse(lines: Iterable[bytes]) -> Iterator[JournalLine]:
    for line in lines:
        try:
            table, at_ns, content = json.loads(line)
        except ValueError:
            continue
        yield table, at_ns, content
