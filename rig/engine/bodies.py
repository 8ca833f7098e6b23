"""The closed and the open loop for targets whose answers say more than their status, where the profile asks for it.

Judged are the body of a success (``answers.….body``), the correlation id that must come back (``answers.correlation``)
and the body of a replay, which must be that of the first answer (``same_body``). What contradicts the status is the
error kind of a row. An answer costs the timed path a search and a look-up: a verdict is kept for the bytes of a body,
and only what was never seen is parsed. Checksums for ``same_body`` and examples lie in files beside the rows
(``rig.evidence.worker_files``). ``executor_of`` says which loop an assignment takes.

Where a scenario sends personal data, its answers are kept as they are, and ``rig.run.echoes`` searches them later. They
are kept up to a bound, and what is beyond it counts as unread.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable
from typing import cast
from zlib import crc32

from httptools import HttpResponseParser

from rig.engine.connection import Connection
from rig.engine.executors import ClosedLoop, OpenLoop
from rig.engine.redelivering import RedeliveringClosedLoop, RedeliveringOpenLoop
from rig.engine.scenario_executor import Assignment, MakeExecutor, ScenarioExecutor
from rig.errors import ErrorKind
from rig.evidence.examples import BODY_MOST, EXAMPLES_EACH
from rig.evidence.worker_files import bodies_file, examples_file, keep_answers
from rig.model import RequestClass, Scenario, Share
from rig.profile import Answer, BodyRule, Profile
from rig.requests.targeter import Targeter

KEPT_BYTES_MOST = 64 << 20
"""So many bytes of answers a worker keeps of a scenario run. The last half is for requests with personal data only."""
_KNOWN_MOST = 10_000
_ID_BYTES = 36
_ID = b"<correlation id>"

_receive, _send = Connection.data_received, Connection.send  # called directly: ``super()`` costs as much as the rest


class AnswerConnection(Connection):
    """A connection that keeps the bytes of its last request and of the answer to it."""

    __slots__ = ("payload", "raw")

    def send(self, seq: int, payload: bytes, intended_ns: int = 0) -> None:
        self.payload = payload
        _send(self, seq, payload, intended_ns)

    def data_received(self, data: bytes) -> None:
        self.raw: bytes = self.raw + data if self._partial_bytes else data
        _receive(self, data)


class _Parts:
    """The headers and the body of an answer, as the parser sees them; an interim answer before it is left out."""

    def __init__(self, raw: bytes) -> None:
        self.headers: dict[str, list[bytes]] = {}
        self.body = b""
        HttpResponseParser(self).feed_data(raw)

    def on_message_begin(self) -> None:
        """An answer begins: what came before was an interim one."""
        self.headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser saw a header."""
        self.headers.setdefault(name.decode("latin-1").lower(), []).append(value)

    def on_body(self, data: bytes) -> None:
        """The parser saw a part of the body."""
        self.body += data


class _Judge:
    """What the profile asks of the answers to one share; ``known`` has the verdict for each body that was seen."""

    def __init__(self, profile: Profile, route: str, share: Share) -> None:
        answer: Answer = profile.answer(share.request_class, route)
        self.statuses = frozenset(answer.right)
        self._rule: BodyRule | None = answer.body
        correlation = None if share.request_class is RequestClass.FORGED else profile.answers.correlation
        self.header = correlation.header if correlation is not None else None
        self._path = correlation.path if correlation is not None else None
        sent = profile.headers.correlation_id
        self.prefix = f"\r\n{sent}: ".encode() if sent and self.header and sent.lower() == self.header.lower() else b""
        self._line_bytes = len(self.prefix) + _ID_BYTES + 2
        self._last_end = b"\r\n\r\n\0"
        self.asks = bool(self._rule or self.header or self._path)
        self._known: dict[bytes, ErrorKind] = {}

    def is_as_before(self, payload: bytes, raw: bytes) -> bool:
        """Whether an answer carries the header of its request as it was sent, and ends as the last good one did.

        It is the quick look at nearly every answer; ``judge`` looks at the others.
        """
        at = payload.find(self.prefix)
        return payload[at : at + self._line_bytes] in raw and raw.endswith(self._last_end)

    def judge(self, payload: bytes, raw: bytes, correlation: Callable[[], bytes]) -> ErrorKind:
        """What is wrong with an answer of a right status."""
        head, end, body = raw.partition(b"\r\n\r\n")
        if self.header is not None:
            at = payload.find(self.prefix) if self.prefix else -1
            line = payload[at : at + self._line_bytes]
            if (at < 0 or line not in head + end) and not self._has_header(raw, correlation()):
                return ErrorKind.OTHER_CORRELATION
        if self._rule is None and self._path is None:
            return ErrorKind.NONE
        if self._path is not None:
            body = body.replace(correlation(), _ID)
        kind = self._known.get(body)
        if kind is None:
            kind = self._judge_body(_body_of(raw), correlation())
            if len(self._known) < _KNOWN_MOST and _is_plain(head):
                self._known[body] = kind
        if kind is ErrorKind.NONE and self.prefix and self._path is None and _is_plain(head):
            self._last_end = b"\r\n\r\n" + body
        return kind

    def _has_header(self, raw: bytes, own: bytes) -> bool:
        # A proxy may add the header that the service gives, too.
        return self.header is not None and own in _Parts(raw).headers.get(self.header.lower(), ())

    def _judge_body(self, body: bytes, own: bytes) -> ErrorKind:
        if self._rule is not None and not self._rule.holds(body):
            return ErrorKind.CONTRADICTED
        if self._path is not None and not BodyRule(path=self._path, equals=own.decode()).holds(body):
            return ErrorKind.OTHER_CORRELATION
        return ErrorKind.NONE


def _is_plain(head: bytes) -> bool:
    """Whether what follows a head is the body as it is."""
    return b"transfer-encoding" not in head.lower() and not head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1"))


def _body_of(raw: bytes) -> bytes:
    head, _, body = raw.partition(b"\r\n\r\n")
    return body if _is_plain(head) else _Parts(raw).body


def _without_framing(raw: bytes) -> bytes:
    """A whole answer whose body is not in chunks."""
    head = raw[: raw.find(b"\r\n\r\n") + 4]
    return raw if _is_plain(head) else head + _body_of(raw)


def _kept_bytes_most(scenario: Scenario, share: Share) -> int:
    """An answer to this share is kept while all that are kept have fewer bytes; 0: none is."""
    if not scenario.sends_personal_data:
        return 0
    return KEPT_BYTES_MOST if share.request_class is RequestClass.PERSONAL else KEPT_BYTES_MOST // 2


class _ReadsAnswers(ScenarioExecutor):
    """Judges each answer; keeps checksums where the bodies of replays must be the same, and answers to search."""

    connection_class = AnswerConnection

    def __init__(self, assignment: Assignment, progress: Callable[[int], None]) -> None:
        super().__init__(assignment, progress)
        profile, scenario = assignment.profile, assignment.scenario
        targets = Targeter(profile, assignment.run).bind(scenario)
        self._correlation = targets.correlation
        self._share_of: list[int] = targets.composition.share.tolist()
        self._judges = [_Judge(profile, scenario.route, share) for share in scenario.shares]
        self._keeps_bodies = compares_bodies(assignment)
        self._bodies = array("q")
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._kept_bytes_most = [_kept_bytes_most(scenario, share) for share in scenario.shares]
        self._examples: list[dict[str, object]] = []
        self._counted = Counter[ErrorKind]()

    def end_request(self, connection: Connection, status: int, kind: ErrorKind, done_ns: int) -> None:
        if kind is ErrorKind.NONE:
            own, seq = cast(AnswerConnection, connection), connection.seq
            if self._keeps_bodies:
                self._bodies.extend((seq, crc32(_body_of(own.raw))))
            share = self._share_of[seq]
            judge = self._judges[share]
            if self._kept_bytes < self._kept_bytes_most[share]:
                self._kept.append(own.raw)
                self._kept_bytes += len(own.raw)
            if judge.asks and status in judge.statuses and not judge.is_as_before(own.payload, own.raw):
                kind = judge.judge(own.payload, own.raw, lambda: self._correlation(seq).encode())
                if kind is not ErrorKind.NONE:
                    self._keep_example(own, status, kind)
        super().end_request(connection, status, kind, done_ns)

    def _keep_example(self, connection: AnswerConnection, status: int, kind: ErrorKind) -> None:
        self._counted[kind] += 1
        if self._counted[kind] <= EXAMPLES_EACH:
            body = _body_of(connection.raw)[:BODY_MOST].decode(errors="replace")
            why = kind.name.lower()
            self._examples.append({"seq": connection.seq, "why": why, "status": status, "body": body})

    async def close(self) -> None:
        await super().close()
        rows_file = self._assignment.rows_file
        if self._keeps_bodies:
            bodies_file(rows_file).write_bytes(self._bodies.tobytes())
        if self._kept:
            keep_answers(rows_file, map(_without_framing, self._kept))
        if self._examples:
            examples_file(rows_file).write_text(json.dumps(self._examples))


class ClosedLoopOfAnswers(_ReadsAnswers, ClosedLoop):
    """Runs one assignment as ``ClosedLoop`` does, and judges each answer."""


class OpenLoopOfAnswers(_ReadsAnswers, OpenLoop):
    """Runs one assignment as ``OpenLoop`` does, and judges each answer."""


def compares_bodies(assignment: Assignment) -> bool:
    """Whether the assignment has replays whose answers must have one body."""
    replays = any(share.one_key for share in assignment.scenario.shares)
    return replays and assignment.profile.answer(RequestClass.REPLAY, assignment.scenario.route).same_body


def executor_of(assignment: Assignment) -> MakeExecutor:
    """What makes the executor that an assignment names, or that its scenario and its profile ask for."""
    if assignment.executor is not None:
        return assignment.executor
    is_open = bool(assignment.scenario.pace.rate_per_s)
    if assignment.scenario.redelivery is not None:
        return RedeliveringOpenLoop if is_open else RedeliveringClosedLoop
    asks = any(
        _Judge(assignment.profile, assignment.scenario.route, share).asks for share in assignment.scenario.shares
    )
    if asks or compares_bodies(assignment) or assignment.scenario.sends_personal_data:
        return OpenLoopOfAnswers if is_open else ClosedLoopOfAnswers
    return OpenLoop if is_open else ClosedLoop
