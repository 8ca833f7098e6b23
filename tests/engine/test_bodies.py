"""Answers that contradict their status are found while the load goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rig.engine import bodies
from rig.engine.bodies import _Judge
from rig.errors import ErrorKind
from rig.evidence.history import History
from rig.model import RequestClass, Share
from rig.profile import BodyRule, Profile, bundled_profile, load_profile
from rig.target.endpoint import Endpoint
from tests.engine.driving import on_uvloop, run_scenario
from tests.engine.peer import Say, peer
from tests.engine.scenes import scenario

OWN = b"11111111-2222-4333-8444-555555555555"
OTHER = b"99999999-2222-4333-8444-555555555555"
PAYLOAD = b"POST / HTTP/1.1\r\nHost: x\r\nX-Correlation-ID: " + OWN + b"\r\nContent-Length: 0\r\n\r\n"
GOOD = b'{"status": "accepted"}'


def answer(body: bytes, header: bytes = b"X-Correlation-ID: " + OWN, framing: bytes | None = None) -> bytes:
    framing = framing or b"Content-Length: %d" % len(body)
    return b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + header + b"\r\n\r\n" + body


def judge(profile: Profile, kind: RequestClass = RequestClass.VALID) -> Callable[[bytes], ErrorKind]:
    own = _Judge(profile, profile.routes[0].name, Share(kind, 1))
    return lambda raw: own.judge(PAYLOAD, raw, lambda: OWN)


@pytest.fixture(scope="module")
def reference() -> Profile:
    return load_profile(bundled_profile())


CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (answer(GOOD), ErrorKind.NONE),
        (answer(b'{"status":"duplicate","more":1}'), ErrorKind.NONE),
        (answer(GOOD, b"x-correlation-id:   " + OWN), ErrorKind.NONE),
        (answer(GOOD, b"x-correlation-id: " + OWN + b"\r\nx-correlation-id: " + OWN), ErrorKind.NONE),
        (answer(CHUNKED, framing=b"Transfer-Encoding: chunked"), ErrorKind.NONE),
        (b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + answer(GOOD), ErrorKind.NONE),
        (answer(b'{"status": "error"}'), ErrorKind.CONTRADICTED),
        (answer(b'{"state": "accepted"}'), ErrorKind.CONTRADICTED),
        (answer(b'["accepted"]'), ErrorKind.CONTRADICTED),
        (answer(b"accepted"), ErrorKind.CONTRADICTED),
        (answer(b""), ErrorKind.CONTRADICTED),
        (answer(GOOD, b"X-Correlation-ID: " + OTHER), ErrorKind.OTHER_CORRELATION),
        (answer(GOOD, b"X-Other: 1"), ErrorKind.OTHER_CORRELATION),
        (answer(GOOD, b"X-Other: " + OWN), ErrorKind.OTHER_CORRELATION),
        (answer(GOOD, b"X-Correlation-ID: " + OWN + b"0"), ErrorKind.OTHER_CORRELATION),
    ],
)
def test_the_reference_services_answers(reference: Profile, raw: bytes, kind: ErrorKind) -> None:
    of = judge(reference)
    assert [of(raw), of(raw)] == [kind, kind]  # as it was seen first, and as it is remembered


def test_the_id_may_come_back_in_the_body_and_bodies_that_differ_in_it_alone_are_parsed_once(
    reference: Profile,
) -> None:
    correlation = {"path": "request.id"}
    answers = {"correlation": correlation}
    profile = Profile.model_validate(reference.model_dump() | {"answers": answers})
    own = _Judge(profile, profile.routes[0].name, Share(RequestClass.VALID, 1))
    for number in range(5):
        mine = b"%08d-2222-4333-8444-555555555555" % number
        body = b'{"request":{"id":"%b"}}' % mine
        assert own.judge(PAYLOAD, answer(body), lambda mine=mine: mine) is ErrorKind.NONE  # type: ignore[misc]
    assert len(own._known) == 1
    elsewhere = answer(b'{"request":{"key":"%b"}}' % OWN)
    assert own.judge(PAYLOAD, elsewhere, lambda: OWN) is ErrorKind.OTHER_CORRELATION


def test_a_route_may_say_other_things_than_the_others(reference: Profile) -> None:
    document = reference.model_dump(mode="json", exclude_unset=True)
    own = {"valid": {"body": {"contains": "noted"}}, "replay": {"status": [409]}}
    document["routes"][1] |= {"answers": own}
    profile = Profile.model_validate(document)
    for number, expected in ((0, ErrorKind.CONTRADICTED), (1, ErrorKind.NONE)):
        judged = _Judge(profile, profile.routes[number].name, Share(RequestClass.VALID, 1))
        assert judged.judge(PAYLOAD, answer(b"noted"), lambda: OWN) is expected
    names = [route.name for route in profile.routes[:2]]
    assert [profile.answer(RequestClass.REPLAY, name).right for name in names] == [(200,), (409,)]


def test_every_answer_of_a_scenario_with_personal_data_is_kept_while_there_is_room(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [answer(CHUNKED, framing=b"Transfer-Encoding: chunked"), *(answer(b"%d" % number) for number in range(9))]
    shares = (Share(RequestClass.VALID, 5), Share(RequestClass.PERSONAL, 5))

    def kept(bytes_most: int, shares: tuple[Share, ...] = shares) -> list[bytes]:
        monkeypatch.setattr(bodies, "KEPT_BYTES_MOST", bytes_most)
        history, scene = History(tmp_path / str(bytes_most)), scenario(10, shares=shares)
        rows_file = history.rows_file(scene, 0)

        async def run() -> None:
            async with peer([Say(each) for each in said]) as server:
                await run_scenario(profile, scene, Endpoint("127.0.0.1", server.port), rows_file)

        on_uvloop(run())
        return list(history.take_answers(scene))

    all_of_them = kept(10_000)
    assert [each.partition(b"\r\n\r\n")[2] for each in all_of_them] == [GOOD, *(b"%d" % number for number in range(9))]
    assert kept(2 * len(said[0])) == [*all_of_them[:1], *all_of_them[5:7]]  # half of the room is for personal data
    assert kept(10_001, (Share(RequestClass.VALID, 10),)) == []


def test_a_forged_request_need_not_get_its_id_back(reference: Profile) -> None:
    assert not _Judge(reference, reference.routes[0].name, Share(RequestClass.FORGED, 1)).asks


@pytest.mark.parametrize(
    ("rule", "body", "holds"),
    [
        ({"path": "ok", "equals": True}, b'{"ok":true}', True),
        ({"path": "ok", "equals": True}, b'{"ok":1}', False),
        ({"path": "errors", "present": False}, b'{"errors":null}', True),
        ({"path": "errors", "present": False}, b'{"errors":[]}', False),
        ({"path": "items.1.id", "present": True}, b'{"items":[{}, {"id":0}]}', True),
        ({"contains": "OK"}, b"OK\n", True),
        ({"contains": "OK"}, b"failed", False),
        ({"path": "a", "equals": 1}, b"[" * 100_000, False),
    ],
)
def test_what_a_body_must_say(rule: dict[str, object], body: bytes, holds: bool) -> None:
    assert BodyRule.model_validate(rule).holds(body) is holds


@pytest.mark.parametrize("rule", [{}, {"path": "a"}, {"equals": 1}, {"path": "a", "equals": 1, "present": True}])
def test_a_rule_says_one_thing(rule: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give path with one of"):
        BodyRule.model_validate(rule)
