"""S10 on one route of a service that is played: what is looked for beside the shapes, and what is made one finding."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from rig.evidence.shapes import ShapeFinding, ShapeOutcome
from rig.profile import Profile
from rig.requests.sender import made_up
from rig.requests.shaped import ShapedRequest, ShapedRoute
from rig.requests.targeter import Targeter
from rig.run import shape_session
from rig.run.shape_session import ShapeSession
from rig.run.shapes import RouteShapes
from rig.target.http_probe import ProbeResponse
from rig.truth.shaped_rows import RowsOfEvent
from scenarios.s10 import shapes
from tests.engine.scenes import RUN
from tests.profiles import handmade

BODY = '{"id": "<key>", "cents": <amount>, "name": "Zoë"}'


@dataclass
class Played:
    """A service that refuses what is too long or too much, fails at a long body, and cuts and rounds what it stores."""

    name_most: int = 10**9
    name_kept: int = 10**9
    cents_most: int = 10**30
    bits_kept: int = 200
    body_most: int = 10**9
    odd_rounded: bool = False
    events: dict[str, dict[str, Any]] = field(default_factory=dict)

    def send(self, request: bytes) -> ProbeResponse:
        body = request.partition(b"\r\n\r\n")[2]
        if len(body) > self.body_most:
            return ProbeResponse(500, "too large for my buffer")
        try:
            event = json.loads(body.removeprefix(b"\xef\xbb\xbf"))
            is_right = len(event["name"]) <= self.name_most and abs(int(event["cents"])) <= self.cents_most
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            is_right = False
        if not is_right:
            return ProbeResponse(422)
        self.events[event["id"]] = event
        return ProbeResponse(200)

    def look(self, requests: list[ShapedRequest]) -> list[RowsOfEvent]:
        events = [self.events.get(each.key) for each in requests]
        return [RowsOfEvent(1, 0, 1, self._altered(event)) if event else RowsOfEvent() for event in events]

    def _altered(self, event: dict[str, Any]) -> list[str]:
        cents = abs(int(event["cents"]))
        cut = ["name: cut"] if len(event["name"]) > self.name_kept else []
        lost = cents.bit_length() - self.bits_kept
        is_odd = self.odd_rounded and cents % 2 == 1 and cents < 10**6
        return cut + (["cents: rounded"] if is_odd or (lost > 0 and cents % 2**lost) else [])


@dataclass
class Locked(Played):
    """Such a service whose table can be locked. Where it ``is_early`` it answers all the same."""

    is_early: bool = False
    sets_aside: bool = False
    writes_after: bool = False
    refuses: bool = False
    unlocked: threading.Event = field(default_factory=threading.Event)
    dead: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)

    @contextmanager
    def hold(self) -> Iterator[None]:
        if self.refuses:
            raise psycopg.errors.InsufficientPrivilege("permission denied for table e")
        self.unlocked.clear()
        yield
        self.unlocked.set()

    def send(self, request: bytes) -> ProbeResponse:
        if self.sets_aside and not self.unlocked.is_set():
            self.dead.add(json.loads(request.partition(b"\r\n\r\n")[2])["id"])
            return ProbeResponse(200)
        if not self.is_early:
            if not self.unlocked.is_set():
                self.late.add(json.loads(request.partition(b"\r\n\r\n")[2])["id"])
            self.unlocked.wait()
        return super().send(request)

    def look(self, requests: list[ShapedRequest]) -> list[RowsOfEvent]:
        if self.writes_after and requests[0].key in self.late:
            self.late.remove(requests[0].key)
            return [RowsOfEvent() for _ in requests]
        found = super().look(requests)
        return [
            RowsOfEvent(dead=1) if each.key in self.dead else rows for each, rows in zip(requests, found, strict=True)
        ]


def find(service: Played) -> list[ShapeFinding]:
    return [finding for _, finding in played(service).findings]


def played(service: Played, *, may_lock: bool = True) -> RouteShapes:
    profile: Profile = handmade(
        {"canonical": {"table": "e", "tenant": "t", "key": "k"}}, body=BODY, malformed=[], personal=[]
    )
    scenario = shapes("orders", ("A",), 300)
    given = made_up(profile, "A")
    route = ShapedRoute(profile, Targeter(profile, RUN).bind(scenario, {"A": given}), given)
    rows: Any = service
    rows.has_uuid_keys = True
    found = RouteShapes(
        profile, route, ShapeSession(profile, route, scenario, rows, rows), 1, isinstance(service, Locked), may_lock
    )
    found.run()
    assert not found.unproven
    return found


def test_what_is_accepted_while_nobody_can_store_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_session, "HELD_S", 0.05)
    for right in (Locked(), Locked(sets_aside=True)):
        right.unlocked.set()
        assert find(right) == []
    after = Locked(writes_after=True)
    after.unlocked.set()
    assert [each.outcome for each in find(after)] == [ShapeOutcome.EARLY], (
        "it waits for the lock, and then answers first"
    )
    (found,) = find(Locked(is_early=True))
    assert found.outcome is ShapeOutcome.EARLY
    assert found.sentence.startswith("a plain event while its table is locked: is accepted before it is stored")
    refused = Locked(refuses=True)
    refused.unlocked.set()
    assert "faults" in played(refused, may_lock=False).left_out["orders: a plain event while its table is locked"]
    assert "permission denied" in played(refused).left_out["orders: a plain event while its table is locked"]


def test_a_service_that_keeps_what_it_accepts_has_no_finding() -> None:
    assert find(Played()) == find(Played(name_most=200, cents_most=10**9)) == []


def test_a_text_that_is_cut_below_what_is_refused_is_found() -> None:
    (found,) = find(Played(name_most=200, name_kept=60))
    assert found.sentence == "name has 61 characters or more: is stored altered: name: cut"
    (found,) = find(Played(name_most=64, name_kept=63))
    assert found.sentence == "name has 64 characters or more: is stored altered: name: cut"


def test_a_number_that_is_rounded_below_what_is_refused_is_found() -> None:
    found = find(Played(cents_most=10**9, bits_kept=24))
    assert any(each.sentence.startswith("cents ") and "rounded" in each.sentence for each in found)


def test_a_plain_value_that_is_rounded_is_not_blamed_on_the_shape_beside_it() -> None:
    plain, *others = find(Played(odd_rounded=True))
    assert plain.sentence == "a plain event: is stored altered: cents: rounded"
    assert plain.events > 10
    assert all(each.fields == ("cents",) for each in others), "the other fields are innocent"


def test_what_fails_from_one_length_of_the_body_on_is_one_finding() -> None:
    (found,) = find(Played(body_most=3_000))
    assert found.sentence.startswith("a request body of 3,001 bytes or more (as where ")
    assert found.sentence.endswith("): is answered 500")
    assert {"name", "rig_extra"} <= set(found.fields)
