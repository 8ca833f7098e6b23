"""What `rig init` drafts has no fault of its own: every request of the doctor can be made, whoever the sender is."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path

import pytest

from rig.doctor.sample_requests import sample_requests
from rig.errors import RigError
from rig.init.curl import parse_curl
from rig.init.draft import check_answer, provisional
from rig.init.pasted import Pasted, take_over
from rig.init.questions import QUESTIONS, ask_all
from rig.model import RunKey
from rig.profile import Profile
from rig.profile.routes import sender_names
from rig.requests.address import Address
from rig.requests.body import compile_bodies
from rig.requests.sender import made_up
from rig.requests.targeter import Targeter
from rig.target.tenants import check_tenants
from tests.engine.scenes import taken_apart
from tests.init.drafting import drafted
from tests.senders.shapes import SHAPES

RUN = RunKey(1, "drafts", 1_800_000_000)
SECRETS = {str(shape.route["sender"]): shape.secret for shape in SHAPES if "sender" in shape.route}
PROVISION = "INSERT INTO t VALUES (%(tenant_id)s, %(api_key)s, %(secrets)s)"


def requests_of(profile: Profile) -> list[bytes]:
    """Every request that the doctor would send, made with made-up secrets."""
    for route in profile.routes:
        compile_bodies(route)
    names = profile.first_tenants
    check_tenants(profile, names, {"WEBHOOK_SECRET": "any"})
    targeter = Targeter(profile, RUN, Address("127.0.0.1:8080"))
    credentials = {name: made_up(profile, name) for name in names}
    requests = []
    for sample in sample_requests(profile, targeter, names):
        targets = targeter.bind(sample.scenario, credentials)
        requests += [targets.request(seq, RUN.started_unix) for seq in range(sample.scenario.count)]
        for seq in range(sample.scenario.count):
            assert list(targets.expect_all(seq))
    return requests


@pytest.mark.parametrize("sender", sender_names())
def test_the_draft_of_every_sender_is_whole(sender: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRETS[sender])
    for given in ({}, {"provision_sql": PROVISION, "tenant_header": "X-Key"}, {"correlation_header": "X-Trace"}):
        profile = drafted(sender=sender, **given)
        assert profile.routes[0].sender == sender
        assert len({taken_apart(request).body for request in requests_of(profile)}) > 1


@pytest.mark.parametrize("sender", sender_names())
def test_a_request_of_every_sender_can_be_pasted(sender: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRETS[sender])
    sent = taken_apart(requests_of(drafted(sender=sender))[0])
    headers = [f"{name}: {value}" for name, value in sent.headers.items() if name != "Content-Length"]
    url, body = f"http://127.0.0.1:8080{sent.line.split()[1]}", sent.body.decode()
    words = [url, *(word for header in headers for word in ("-H", header)), "--data-raw", body]
    pasted = take_over(parse_curl(f"curl {shlex.join(words)}"))
    assert requests_of(drafted(pasted, name="pasted", idempotency_header="Event-Key"))
    assert requests_of(drafted(pasted, name="pasted", sender=sender, idempotency_header="Event-Key"))


@pytest.mark.parametrize(
    ("name", "answer", "is_right"),
    [
        ("sender", "nobody", False),
        ("sender", "stripe", True),
        ("name", "a b", False),
        ("route", "no-slash", False),
        ("route", "/in/<colour>", False),
        ("event", "/nowhere.json", False),
        ("event-id", "no.such", False),
        ("event-id", "id", True),
        ("idempotency-header", "X Key", False),
        ("idempotency-header", "X-Key", True),
        ("dead-table", "letters", True),
    ],
)
def test_an_answer_that_no_profile_can_have_is_found_when_it_is_given(name: str, answer: str, is_right: bool) -> None:
    known: dict[str, str] = {}
    for question in QUESTIONS:
        if question.name == name:
            break
        known[question.name] = question.default_after(known) if question.when(known) else ""
    with nullcontext() if is_right else pytest.raises(RigError):
        check_answer(name, answer, known, Pasted())


def test_probes_try_an_event_without_each_of_its_fields_and_a_profile_does_not() -> None:
    answers = ask_all(lambda question, so_far: {"sender": "github", "event-id": ""}.get(
        question.name, question.default_after(so_far)))  # fmt: skip
    tried = provisional(answers, Path("rig.toml"), Pasted(), tries_fields=True).routes[0].malformed
    assert [way.remove for way in tried][:3] == ["ref", "before", "after"]
    assert provisional(answers, Path("rig.toml"), Pasted()).routes[0].malformed == ()
