"""An open loop against a server that says how long it let each request wait: the same engine, one more column.

The connections of ``InstrumentedOpenLoop`` read one header of every answer, and its rows of ``DELIVERED`` lie in a file
beside the results. The header costs the timed path a callback, which no other executor pays.
Not for: loading a target. It exists for the latency calibration (``rig.calibrate.latency``).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np

from rig.engine.connection import Connection
from rig.engine.executors import OpenLoop
from rig.engine.scenario_executor import Assignment
from rig.errors import ErrorKind

HEADER = b"x-delivered-ns"
DELIVERED = np.dtype([("seq", "<i8"), ("delivered_ns", "<i8")])
"""One row per answer: the number of the request, the delay that the server says it made."""


def delivered_file(rows_file: Path) -> Path:
    """Where a worker's rows of ``DELIVERED`` lie."""
    return rows_file.with_suffix(".delivered")


class InstrumentedConnection(Connection):
    """A connection that keeps what the server said of its last answer; -1 where it said nothing."""

    __slots__ = ("delivered_ns",)

    def send(self, seq: int, payload: bytes, intended_ns: int = 0) -> None:
        self.delivered_ns = -1
        super().send(seq, payload, intended_ns)

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser saw a header."""
        if name.lower() == HEADER:
            self.delivered_ns = int(value) if value.isdigit() else -1


class InstrumentedOpenLoop(OpenLoop):
    """Runs one assignment as ``OpenLoop`` does, and keeps what the server said of each answer."""

    connection_class = InstrumentedConnection

    def __init__(self, assignment: Assignment, progress: Callable[[int], None]) -> None:
        super().__init__(assignment, progress)
        self._delivered = array("q")

    def end_request(self, connection: Connection, status: int, kind: ErrorKind, done_ns: int) -> None:
        if kind is ErrorKind.NONE:
            self._delivered.extend((connection.seq, cast(InstrumentedConnection, connection).delivered_ns))
        super().end_request(connection, status, kind, done_ns)

    async def close(self) -> None:
        await super().close()
        delivered_file(self._assignment.rows_file).write_bytes(self._delivered.tobytes())
