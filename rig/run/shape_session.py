"""Sends shaped events to one route and says what became of each: by its answer, then by its rows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from rig.evidence.shapes import PROBLEMS, ShapedEvent, ShapeOutcome
from rig.limits import ASK_AGAIN
from rig.model import RequestClass, Row, Scenario, ShapeKind
from rig.profile import Profile
from rig.requests.key_pairs import KeyPair
from rig.requests.shaped import ShapedRequest, ShapedRoute
from rig.run.answers_so_far import LAST_MOST, FirstFailure
from rig.run.shrinking import Changes, OutOfRequests
from rig.stats import quantile
from rig.target.http_probe import HttpProbe, ProbeResponse
from rig.truth.shaped_rows import RowsOfEvent, ShapedRows

WAIT_S, POLL_S = 1.0, 0.05
"""How long a row is waited for where the profile has no ``[truth.arrival]``."""
HELD_S = 0.5
"""So long a row is held back, or thrice as long as the slowest event took: who answers early has done so by then."""
HELD = "a plain event while its table is locked"
_DISBELIEVED = 401
_MAY_BE_NONE = {ShapeKind.NULLS, ShapeKind.MISSING}
"""Without a value an event may be none that the service cares for."""
_WORDS = {
    ShapeOutcome.LOST: "no row",
    ShapeOutcome.DOUBLED: "several rows",
    ShapeOutcome.KEPT: "row though refused",
    ShapeOutcome.EARLY: "answer before its row",
    ShapeOutcome.ALTERED: "altered row",
    ShapeOutcome.MERGED: "row of another key",
}
"""What is wrong, before the words "for request 7"."""


class TargetGone(Exception):
    """Not even a plain event is answered any more."""


@dataclass(slots=True)
class TriedEvent:
    """A shaped event that was sent, and what became of it."""

    changes: Changes
    seq: int
    request: ShapedRequest
    response: ProbeResponse
    took_ms: float
    outcome: ShapeOutcome
    compared: int = 0
    detail: str = ""

    @property
    def failure(self) -> tuple[ShapeOutcome, int]:
        """What two failures must share to be one."""
        return self.outcome, self.response.status if self.outcome is ShapeOutcome.ERROR else 0

    @property
    def has_failed(self) -> bool:
        """Whether it must not end so."""
        return self.outcome in PROBLEMS

    @property
    def problem(self) -> str:
        """What is wrong, in two or three words."""
        is_error = self.outcome is ShapeOutcome.ERROR
        return f"status {self.response.status}" if is_error else _WORDS.get(self.outcome, str(self.outcome))

    @property
    def what(self) -> str:
        """How it differs from the plain event."""
        return ", ".join(change.words for change in self.changes) or "the plain event"


class ShapeSession:
    """The shaped requests of one scenario, one after another; ``used`` counts them, and is told to ``progress``.

    A ``SeenSoFar``: what became of an event is seen as soon as it is known.
    """

    def __init__(
        self,
        profile: Profile,
        route: ShapedRoute,
        scenario: Scenario,
        probe: HttpProbe,
        rows: ShapedRows,
        progress: Callable[[int], None] = lambda requests: None,
    ) -> None:
        self._profile, self._route, self._scenario = profile, route, scenario
        self._probe, self._rows, self._progress = probe, rows, progress
        self._answer = profile.answer(RequestClass.VALID, scenario.route)
        self._deadline_s = time.monotonic() + scenario.deadline_s
        self._kinds: Counter[str] = Counter()
        self._firsts: list[FirstFailure] = []
        self._response_ms: list[float] = []
        self.used = 0
        self.events: list[ShapedEvent] = []

    def allows(self, pair: KeyPair) -> bool:
        """Whether an event can have such keys. A row that may never come is not waited for in a queue."""
        is_worth_it = pair.is_judged or self._profile.truth.arrival is None
        return is_worth_it and self._route.allows(pair, is_uuid=self._rows.has_uuid_keys)

    @property
    def left(self) -> int:
        return 0 if self.is_late else self._scenario.count - self.used

    @property
    def is_late(self) -> bool:
        """Whether the time of the scenario is over."""
        return time.monotonic() > self._deadline_s

    def look(self) -> list[FirstFailure]:
        found, self._firsts = self._firsts, []
        return found

    @property
    def failures(self) -> Mapping[str, int]:
        return self._kinds

    @property
    def p95_ms(self) -> float | None:
        return quantile(self.response_ms[-LAST_MOST:], 0.95) if self._response_ms else None

    @property
    def response_ms(self) -> NDArray[np.float64]:
        """How long each request took, shape (requests,); infinite without an answer."""
        return np.array(self._response_ms)

    def try_all(self, planned: Sequence[Changes], *, are_controls: bool = False) -> list[TriedEvent]:
        """Send events, as many as may be sent; then look for their rows. TargetGone where nothing is answered.

        Controls may be answered 401: a field may say who the sender is.
        """
        tried = []
        for changes in planned:
            if self.left < 1:
                break
            tried.append(self._send(changes, is_control=are_controls))
            if tried[-1].outcome is ShapeOutcome.NO_ANSWER and changes:
                self._require_alive()
        self._find_rows([each for each in tried if each.outcome is ShapeOutcome.UNSEEN])
        self._find_kept([each for each in tried if each.outcome is ShapeOutcome.REFUSED])
        self.events += [_as_evidence(self._scenario, each) for each in tried]
        return tried

    def try_one(self, changes: Changes) -> TriedEvent:
        """Send one event and look for its row. OutOfRequests where none may be sent."""
        tried = self.try_all([changes])
        if not tried:
            raise OutOfRequests
        return tried[0]

    def try_plain(self, failed: TriedEvent) -> TriedEvent | None:
        """Send the plain event with amount, time and the other values of one that failed, under a key of its own.

        None where no request can have another key. OutOfRequests where none may be sent.
        """
        if not self._route.is_key_sent:
            return None
        if self.left < 1:
            raise OutOfRequests
        tried = self._send((), self._route.own_key(self.used), seq=failed.seq)
        if tried.outcome is ShapeOutcome.UNSEEN:
            self._find_rows([tried])
        self.events.append(_as_evidence(self._scenario, tried))
        return tried

    def try_pair(self, pair: KeyPair) -> TriedEvent:
        """Send an event with each key, and say what became of the second; of the first where that is not stored.

        Where a pair is not judged, REFUSED says that the second was taken for the first.
        """
        own, other = self._route.keys_of(pair, self.used)
        first = self._send((), own)
        if first.outcome is ShapeOutcome.UNSEEN:
            self._find_rows([first])
        self.events.append(_as_evidence(self._scenario, first))
        if first.outcome is not ShapeOutcome.STORED:
            return first
        second = self._send((), other, pair.shares)
        known = self._profile.right_again(RequestClass.VALID, self._scenario.route)
        is_known = second.outcome is not ShapeOutcome.UNSEEN and second.response.status in known
        if second.outcome is ShapeOutcome.UNSEEN:
            self._find_rows([second], are_told=pair.is_judged)
        (kept,) = self._rows.look([first.request])
        if is_known or second.outcome is ShapeOutcome.LOST or kept.altered or not kept.canonical:
            second.outcome = ShapeOutcome.MERGED if pair.is_judged else ShapeOutcome.REFUSED
            second.detail = f"answered {second.response.status}" if kept.canonical else "the first has no row any more"
            self._note(second)
        what = f"keys that differ {pair.name}: {own!a} and {other!a}"
        told = _as_evidence(self._scenario, second)
        self.events.append(replace(told, what=what, kinds=(ShapeKind.KEYS.value,)))
        return second

    def try_held(self) -> TriedEvent:
        """Send a plain event while nobody can write its row, and say whether it was accepted all the same.

        A service that waits for the lock before it answers, and writes after that, is seen by its row: what was
        committed before the answer is visible with it.

        psycopg.Error where the row cannot be held back.
        """
        request = self._route.make(self.used, time.time(), ())
        with ThreadPoolExecutor(max_workers=1) as sender:
            with self._rows.hold():
                begun_s = time.perf_counter()
                answer = sender.submit(self._probe.send, request.request)
                wait([answer], max(HELD_S, 3e-3 * max(self._response_ms)))
                is_early = answer.done()
            response = answer.result()
        took_ms = round(1e3 * (time.perf_counter() - begun_s), 3)
        outcome, detail = self._judge_answer(response, is_signed=False)
        if outcome is not ShapeOutcome.UNSEEN:
            outcome = ShapeOutcome.HELD_OFF  # what a service makes of such a wait is for the chaos to say
        else:
            (at_once,), (rows,) = self._rows.look([request]), self._await_rows([request])
            is_early = is_early or not (at_once.canonical or at_once.dead)
            if not rows.canonical and rows.dead != 0:
                outcome = ShapeOutcome.HELD_OFF  # set aside: a dead letter has a table of its own
            elif is_early:
                outcome, detail = ShapeOutcome.EARLY, f"answered after {took_ms:.1f} ms"
            else:
                outcome, detail = _judge_rows((), rows)
        tried = TriedEvent((), self.used, request, response, took_ms, outcome, detail=detail)
        self.used += 1
        self._note(tried)
        self.events.append(replace(_as_evidence(self._scenario, tried), what=HELD))
        return tried

    def _send(
        self,
        changes: Changes,
        key: str = "",
        shares: tuple[str, ...] = (),
        *,
        is_control: bool = False,
        seq: int | None = None,
    ) -> TriedEvent:
        seq = self.used if seq is None else seq
        request = self._route.make(seq, time.time(), changes, key, shares)
        self.used += 1
        begun_s = time.perf_counter()
        response = self._probe.send(request.request)
        took_ms = round(1e3 * (time.perf_counter() - begun_s), 3)
        outcome, detail = self._judge_answer(response, is_signed=bool(changes) and not is_control)
        tried = TriedEvent(changes, seq, request, response, took_ms, outcome, detail=detail)
        self._response_ms.append(took_ms if response.status else inf)
        self._note(tried)
        return tried

    def _note(self, tried: TriedEvent) -> None:
        """Count an event that has failed, and tell how far we are."""
        if tried.has_failed:
            if not self._kinds[tried.problem]:
                self._firsts.append(FirstFailure(tried.problem, tried.seq, tried.request.key, tried.what))
            self._kinds[tried.problem] += 1
        self._progress(self.used)

    def _require_alive(self) -> None:
        if self._send(()).outcome is ShapeOutcome.NO_ANSWER:
            raise TargetGone

    def _judge_answer(self, response: ProbeResponse, *, is_signed: bool) -> tuple[ShapeOutcome, str]:
        """What an answer says; UNSEEN where rows must say more. ``is_signed``: 401 can only be about the signature."""
        status, answer = response.status, self._answer
        if not status:
            return ShapeOutcome.NO_ANSWER, response.problem
        if status in answer.right and (answer.body is None or answer.body.holds(response.body)):
            return ShapeOutcome.UNSEEN, ""
        if status in ASK_AGAIN:
            return ShapeOutcome.HELD_OFF, response.said
        if status == _DISBELIEVED and is_signed and self._route.route.signs_body:
            return ShapeOutcome.DISBELIEVED, response.said
        if 400 <= status < 500 or status in answer.right:
            return ShapeOutcome.REFUSED, response.said
        if 200 <= status < 300:
            return ShapeOutcome.UNSEEN, ""
        return ShapeOutcome.ERROR, response.said

    def _find_rows(self, accepted: Sequence[TriedEvent], *, are_told: bool = True) -> None:
        if not accepted:
            return
        begun_s = time.monotonic()
        found = self._await_rows([each.request for each in accepted])
        if len(accepted) > 1:  # a queue that takes its time leaves what is shrunk its own
            self._deadline_s += time.monotonic() - begun_s
        for each, rows in zip(accepted, found, strict=True):
            each.compared = rows.compared
            each.outcome, each.detail = _judge_rows(each.changes, rows)
            if are_told:
                self._note(each)

    def _await_rows(self, requests: Sequence[ShapedRequest]) -> list[RowsOfEvent]:
        """What there is of each event, once there is something of all, or it is too late."""
        arrival = self._profile.truth.arrival
        deadline_s = time.monotonic() + (arrival.within_s if arrival else WAIT_S)
        while True:
            found = self._rows.look(requests)
            is_whole = all(rows.canonical or rows.dead for rows in found)
            # A queue may store an event in two steps.
            is_right = arrival is None or not any(rows.altered for rows in found)
            if (is_whole and is_right) or time.monotonic() > deadline_s:
                return found
            time.sleep(POLL_S)

    def _find_kept(self, refused: Sequence[TriedEvent]) -> None:
        """Look for rows of refused events, where the profile does not say that what is refused is kept among them."""
        kept = self._profile.row(RequestClass.MALFORMED, self._scenario.route) is Row.CANONICAL
        if kept or not refused:
            return
        for each, rows in zip(refused, self._rows.look([each.request for each in refused]), strict=True):
            if rows.canonical:
                each.outcome = ShapeOutcome.KEPT
                self._note(each)


def _judge_rows(changes: Changes, rows: RowsOfEvent) -> tuple[ShapeOutcome, str]:
    if rows.canonical > 1:
        return ShapeOutcome.DOUBLED, f"{rows.canonical} rows"
    if rows.altered:
        return ShapeOutcome.ALTERED, "; ".join(rows.altered)
    if rows.canonical:
        return ShapeOutcome.STORED, ""
    if rows.dead:
        return ShapeOutcome.SET_ASIDE, ""
    if rows.dead is None:
        return ShapeOutcome.UNSEEN, "it has no row; a dead letter would not name it"
    if any(change.kind in _MAY_BE_NONE for change in changes):
        return ShapeOutcome.IGNORED, "it has no row"
    return ShapeOutcome.LOST, "it has no row"


def _as_evidence(scenario: Scenario, tried: TriedEvent) -> ShapedEvent:
    return ShapedEvent(
        scenario.label,
        tried.request.key,
        tried.what,
        tuple(dict.fromkeys(change.kind.value for change in tried.changes)),
        tried.outcome,
        tried.response.status,
        tried.took_ms,
        tried.compared,
        tried.detail,
    )
