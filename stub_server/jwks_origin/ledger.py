"""The count of fetches, on disk as it happens."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class FetchLedger:
    """Two lines a fetch::

        {"event": "start", "fetch": 1, "at_ns": …, "concurrent": 1, "peer": "127.0.0.1:4711", "agent": "…"}
        {"event": "end",   "fetch": 1, "at_ns": …, "outcome": "200"}

    ``concurrent`` counts the fetch itself. The outcome is the status, ``malformed`` or ``truncated``, or
    ``aborted`` where the caller went away first.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", buffering=1)  # line-buffered: whole lines reach the disk
        self._fetches = 0
        self._open: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def start(self, peer: str, agent: str) -> int:
        """Note that a fetch begins; returns its number."""
        self._fetches += 1
        self._open.add(self._fetches)
        self._write("start", self._fetches, concurrent=len(self._open), peer=peer, agent=agent)
        return self._fetches

    def end(self, fetch: int, outcome: str) -> None:
        """Note that it ended."""
        self._open.discard(fetch)
        self._write("end", fetch, outcome=outcome)

    def _write(self, event: str, fetch: int, **rest: str | int) -> None:
        line = {"event": event, "fetch": fetch, "at_ns": time.monotonic_ns(), **rest}
        self._file.write(json.dumps(line) + "\n")
