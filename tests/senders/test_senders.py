"""Every shape of the table is made by the rig and accepted by a check that is not the rig's."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from rig.model import Forgery, Pace, RequestClass, RunKey, Scenario, Share
from rig.profile import Profile
from rig.profile.routes import sender_names
from rig.requests.address import Address
from rig.requests.forger import CannotForgeError, why_not
from rig.requests.sender import Credentials
from rig.requests.targeter import Targeter, Targets
from tests.engine.scenes import taken_apart
from tests.senders.shapes import API_KEY, SHAPES, TENANT, Sent, Shape
from tests.senders.table import page

NOW = 1_900_000_000
RUN = RunKey(1, "senders", NOW - 10)
SCENARIO = Scenario("S2", "t", 3, "in", ("A",), (Share(RequestClass.VALID, 3),), Pace(1))
OLD_SECRET = "whsec_" + "c2VjcmV0IG9mIHllc3RlcmRheSwgMjQ="


# What a check of a signature sees: no tenant, and not the time.
OF_SIGNATURES = [
    kind
    for kind in Forgery
    if kind not in (Forgery.UNKNOWN_TENANT, Forgery.NO_TENANT, Forgery.STALE, Forgery.FROM_FUTURE)
]


def profile_of(shape: Shape) -> Profile:
    route = {"name": "in", "path": "/in", **shape.route}
    return Profile.model_validate(
        {
            "version": 1,
            "name": "receiver",
            "target": {"base_url": "http://127.0.0.1:9"},
            "tenants": {"provision_sql": "SELECT 1"},
            "routes": [route],
            "truth": {
                "canonical": {"table": "events", "tenant": "tenant", "key": "key"},
                "dead": {"table": "letters", "tenant": "tenant", "match": "count"},
            },
        }
    )


def targets_of(shape: Shape, *, forgery: Forgery | None = None, secret: str = "") -> Targets:
    profile = profile_of(shape)
    scenario = replace(SCENARIO, shares=(Share(RequestClass.VALID, 3, forgery=forgery),))
    secrets = {"webhook": secret or shape.secret, "webhook.old": OLD_SECRET}
    address = Address("hooks.example.test:8080", "/base")
    credentials = {"A": Credentials(API_KEY, secrets, TENANT)}
    return Targeter(profile, RUN, address).bind(scenario, credentials)


def sent(targets: Targets, shape: Shape) -> list[Sent]:
    return [
        Sent(taken_apart(targets.request(seq, NOW)), NOW, shape.secret, OLD_SECRET, targets.key(seq))
        for seq in range(3)
    ]


def is_accepted(shape: Shape, request: Sent) -> bool:
    try:
        return shape.check(request) not in (False,)
    except Exception:  # each library has its own
        return False


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_receiver_accepts_what_the_rig_sends(shape: Shape) -> None:
    for request in sent(targets_of(shape), shape):
        assert shape.check(request) is not False
        assert int(request.headers["Content-Length"]) == len(request.body)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.covers_body], ids=lambda shape: shape.name)
def test_the_receiver_refuses_a_body_that_was_changed_after_it_was_signed(shape: Shape) -> None:
    targets = targets_of(shape, forgery=Forgery.BODY_SPACE)
    assert not any(is_accepted(shape, request) for request in sent(targets, shape))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_receiver_refuses_what_is_forged(shape: Shape) -> None:
    profile = profile_of(shape)
    accepted, tried = set(), 0
    for forgery in OF_SIGNATURES:
        if why_not(profile, profile.routes[0], forgery, tenants=1):
            continue
        with suppress(CannotForgeError):
            requests = sent(targets_of(shape, forgery=forgery), shape)
            tried += 1
            accepted |= {forgery for request in requests if is_accepted(shape, request)}
    assert not accepted
    assert tried or not shape.covers_body


@pytest.mark.parametrize("sender", ["twilio", "square", "hubspot"])
def test_a_signature_over_the_address_is_over_the_public_one(sender: str) -> None:
    shape = next(shape for shape in SHAPES if shape.route.get("sender") == sender)
    document = profile_of(shape).model_dump(mode="json", exclude_unset=True)
    for public_url, accepted in (("http://hooks.example.test:8080", True), ("https://hooks.example.test", False)):
        target = {"base_url": "http://127.0.0.1:9", "public_url": public_url}
        targeter = Targeter(Profile.model_validate(document | {"target": target}), RUN, Address("127.0.0.1:9"))
        targets = targeter.bind(SCENARIO, {"A": Credentials(API_KEY, {"webhook": shape.secret}, TENANT)})
        requests = sent(targets, shape)
        assert [is_accepted(shape, request) for request in requests] == [accepted] * 3
        assert {request.headers["Host"] for request in requests} == {"127.0.0.1:9"}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_request_is_the_same_when_it_is_made_again(shape: Shape) -> None:
    first, second = targets_of(shape), targets_of(shape)
    assert [first.request(seq, NOW) for seq in range(3)] == [second.request(seq, NOW) for seq in range(3)]


def test_no_preset_is_without_a_check() -> None:
    assert set(sender_names()) == {
        shape.route["sender"] for shape in SHAPES if ":" not in shape.route.get("sender", ":")
    }
    assert len(sender_names()) >= 24
    assert len(SHAPES) >= 41
    assert sum(shape.says == "keys" for shape in SHAPES) >= 30


def test_the_page_about_senders_is_what_the_shapes_say() -> None:
    assert Path("docs/senders.md").read_text() == page(), "python -m tests.senders > docs/senders.md"
