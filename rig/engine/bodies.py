"""The closed and the open loop for targets whose answers to a replay must have the body of the first answer.

Their connections make a checksum of every body, which costs the timed path a callback, and rows of
``rig.evidence.history.BODY`` lie in a file beside the results. ``executor_of`` takes them where the profile says
``same_body``.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import cast
from zlib import crc32

from rig.engine.connection import Connection
from rig.engine.executors import ClosedLoop, OpenLoop
from rig.engine.scenario_executor import Assignment, ScenarioExecutor
from rig.errors import ErrorKind
from rig.evidence.history import bodies_file
from rig.model import RequestClass


class BodyConnection(Connection):
    """A connection that makes a checksum of the body of its last answer."""

    __slots__ = ("crc",)

    def send(self, seq: int, payload: bytes, intended_ns: int = 0) -> None:
        """See ``Connection``."""
        self.crc = 0
        super().send(seq, payload, intended_ns)

    def on_body(self, data: bytes) -> None:
        """The parser saw a part of a body."""
        self.crc = crc32(data, self.crc)


class _KeepsBodies(ScenarioExecutor):
    """Keeps the checksum of each body."""

    connection_class = BodyConnection

    def __init__(self, assignment: Assignment, progress: Callable[[int], None]) -> None:
        super().__init__(assignment, progress)
        self._bodies = array("q")

    def end_request(self, connection: Connection, status: int, kind: ErrorKind, done_ns: int) -> None:
        """See ``Executor``."""
        if kind is ErrorKind.NONE:
            self._bodies.extend((connection.seq, cast(BodyConnection, connection).crc))
        super().end_request(connection, status, kind, done_ns)

    async def close(self) -> None:
        """See ``ScenarioExecutor``."""
        await super().close()
        bodies_file(self._assignment.rows_file).write_bytes(self._bodies.tobytes())


class ClosedLoopOfBodies(_KeepsBodies, ClosedLoop):
    """Runs one assignment as ``ClosedLoop`` does, and keeps a checksum of each body."""


class OpenLoopOfBodies(_KeepsBodies, OpenLoop):
    """Runs one assignment as ``OpenLoop`` does, and keeps a checksum of each body."""


def compares_bodies(assignment: Assignment) -> bool:
    """Whether the assignment has replays whose answers must have one body."""
    replays = any(share.one_key for share in assignment.scenario.shares)
    return replays and assignment.profile.answer(RequestClass.REPLAY).same_body


def executor_of(assignment: Assignment) -> type[ScenarioExecutor]:
    """The executor that an assignment names, or that its pace and its profile ask for."""
    if assignment.executor is not None:
        return assignment.executor
    is_open = bool(assignment.scenario.pace.rate_per_s)
    if compares_bodies(assignment):
        return OpenLoopOfBodies if is_open else ClosedLoopOfBodies
    return OpenLoop if is_open else ClosedLoop
