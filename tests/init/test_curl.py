"""A pasted curl command: what it says of a route, and that no secret of it gets into the profile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rig.errors import UsageError
from rig.init.curl import parse_curl
from rig.init.pasted import Pasted, take_over
from rig.profile import Profile
from tests.init.drafting import drafted, rendered_json

BASH = r"""
curl 'http://127.0.0.1:8000/hooks/orders?shop=1' \
  -H 'accept: */*' -H 'Content-Type: application/json' -H 'X-Topic: orders/create' \
  -H 'Authorization: Bearer sk_live_verysecret' -H 'X-Request-ID: 5e0c' -H 'Idempotency-Key: 3b3f' \
  -H 'cookie: session=verysecret' \
  --data-raw $'{"id":"p1","note":"it\'s \u003cb\u003e \\n","total":"12.50"}' --compressed -k | jq .
"""
CMD = (
    'curl ^"http://127.0.0.1:8000/hooks/orders?shop=1^" ^\r\n  -H ^"Content-Type: application/json^" ^\r\n'
    '  -H ^"X-Topic: orders/create^" ^\r\n'
    '  --data-raw ^"^{^\\^"id^\\^":^\\^"p1^\\^",^\\^"note^\\^":^\\^"50^% ^& more^\\^"^}^"'
)


def pasted(text: str) -> Pasted:
    return take_over(parse_curl(text))


def profile_of(text: str, **given: str) -> Profile:
    return drafted(pasted(text), **given)


def test_bash_gives_address_headers_and_body_in_one_paste() -> None:
    profile = profile_of(BASH, event_id="id", event_amount="total")
    route = profile.routes[0]
    assert profile.target.base_url == "http://127.0.0.1:8000"
    assert route.path == "/hooks/orders?shop=1"
    assert route.headers == {"X-Topic": "orders/create"}
    assert profile.headers.idempotency_key == "Idempotency-Key"
    assert profile.headers.correlation_id == "X-Request-ID"
    assert rendered_json(profile) == {
        "id": "3f1c" if "<key>" in route.body else "e1",
        "note": "it's <b> \n",
        "total": "0.99",
    }


def test_cmd_gives_the_same() -> None:
    profile = profile_of(CMD, event_id="id", scheme="none")
    assert profile.routes[0].path == "/hooks/orders?shop=1"
    assert profile.routes[0].headers == {"X-Topic": "orders/create"}
    assert rendered_json(profile) == {"id": "3f1c", "note": "50% & more"}


def test_no_secret_gets_into_the_profile() -> None:
    found = pasted(BASH)
    profile = drafted(found, event_id="id")
    assert "verysecret" not in profile.model_dump_json()
    assert profile.routes[0].scheme == "token"
    assert profile.routes[0].signature_text == "Bearer <secret>"
    assert profile.routes[0].secret_env == "WEBHOOK_SECRET"
    assert any("Authorization" in note for note in found.notes)
    assert "verysecret" not in " ".join(found.notes)


@pytest.mark.parametrize(
    ("command", "header", "text"),
    [
        ("-u me:verysecret", "Authorization", "Basic <secret_base64>"),
        ("-H 'Authorization: Basic bWU6dmVyeXNlY3JldA=='", "Authorization", "Basic <secret_base64>"),
        ("-H 'X-Api-Key: verysecret'", "X-Api-Key", "<secret>"),
        (f"-H 'X-Sign-256: sha256={'ab' * 32}'", "X-Sign-256", "sha256=<signature>"),
        (f"-H 'X-Sign: {'ab' * 20}'", "X-Sign", "<signature>"),
        (f"-H 'X-Signature: t=1764300000,v1={'ab' * 32}'", "X-Signature", "t=<unix>,v1=<signature>"),
    ],
)
def test_what_proves_the_sender_becomes_a_placeholder(command: str, header: str, text: str) -> None:
    profile = profile_of(f'curl http://127.0.0.1/in {command} --json \'{{"id":"p1"}}\'')
    assert profile.routes[0].signature_header == header
    assert profile.routes[0].signature_text == text
    assert not re.search("verysecret|bWU6|abab", profile.model_dump_json())


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        ("Stripe-Signature: t=1,v1=ab", "stripe"),
        ("X-Hub-Signature-256: sha256=ab", "github"),
        ("x-hub-signature: sha1=ab", "github-sha1"),
        ("X-Slack-Signature: v0=ab", "slack"),
        ("X-Shopify-Hmac-Sha256: ab=", "shopify"),
        ("svix-signature: v1,ab=", "svix"),
        ("webhook-signature: v1,ab=", "standard-webhooks"),
        ("X-Gitlab-Token: verysecret", "gitlab"),
        ("X-Signature-Ed25519: ab", "discord"),
        ("X-Zm-Signature: v0=ab", "zoom"),
    ],
)
def test_the_header_of_a_signature_names_its_sender(header: str, sender: str) -> None:
    found = pasted(f"curl -H '{header}' http://127.0.0.1/in --json '{{\"id\":\"p1\"}}'")
    assert found.sender == sender
    profile = drafted(found, event_id="id")
    assert profile.routes[0].sender == sender
    assert "verysecret" not in profile.model_dump_json()


def test_static_headers_of_a_known_sender_are_kept() -> None:
    profile = profile_of(
        "curl http://127.0.0.1/in -H 'X-GitHub-Event: issues'"
        " -H 'X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958'"
        " -H 'X-Hub-Signature-256: sha256=ab' -H 'User-Agent: GitHub-Hookshot/044aadd' --json '{\"id\":\"p1\"}'",
        event_id="",
    )
    assert profile.routes[0].headers["X-GitHub-Event"] == "issues"
    assert profile.routes[0].headers["X-GitHub-Delivery"] == "<key>"
    assert profile.routes[0].headers["User-Agent"] == "GitHub-Hookshot/044aadd"


def test_secrets_of_the_address_and_the_body_are_not_written() -> None:
    found = pasted(
        'curl \'http://u:verysecret@127.0.0.1/in?token=verysecret&shop=1\' --json \'{"id":"p1","token":"verysecret"}\''
    )
    profile = drafted(found, event_id="id")
    assert profile.routes[0].path == "/in?token=<secret>&shop=1"
    assert "verysecret" not in profile.model_dump_json()


def test_headers_that_no_route_can_have_are_left_out() -> None:
    found = pasted(
        "curl http://h/ -H 'X-A: 1' -H 'x-a: 2' -H 'X-B: <b>' -H 'Content-Encoding: gzip'"
        ' -d $\'{"id":"\\UFFFFFFFF"}\''
    )
    assert drafted(found, event_id="id").routes[0].headers == {"x-a": "2"}
    assert found.notes == ["the header X-B is left out: <…> in it is no placeholder"]


def test_forms_and_files(tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text('{\n"id": "p1"\n}')
    assert parse_curl("curl http://h/ -d @body.json", tmp_path).body == b'{"id": "p1"}'
    assert parse_curl("curl http://h/ --data-binary @body.json", tmp_path).body == b'{\n"id": "p1"\n}'
    assert parse_curl("curl h/in -d a=1 -d b=2 --data-urlencode 'c=x y'").body == b"a=1&b=2&c=x+y"
    assert parse_curl("curl -sXPUT --url http://h:81/in -Hx:y -d a=1").method == "PUT"
    assert parse_curl("curl -sXPUT --url http://h:81/in -Hx:y -d a=1").headers[0] == ("x", "y")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("wget http://h/", "must begin with the word curl"),
        ("curl http://h/a http://h/b -d x=1", "2 URLs"),
        ("curl -d x=1", "no URLs"),
        ("curl http://h/ -F file=@x", "multipart"),
        ("curl http://h/", "GET request without a body"),
        ("curl http://h/ -G -d x=1", "GET request without a body"),
        ("curl http://h/ -d 'x=1", "never closed"),
        ('curl http://h/ -d "x=1', "never closed"),
        ("curl http://h/ -d $'x=1\\", "never closed"),
        ("curl http://h/ --frobnicate -d x=1", "--frobnicate is not known"),
        ("curl http://h/ -d @nowhere.json", "cannot be read"),
        ("curl http://h/ -d @-", "standard input"),
        ("curl ftp://h/ -d x=1", "none of http or https"),
        ("curl http://h/ -X DELETE -d x=1", "DELETE request"),
        ("curl http://h/ -d", "has no value"),
        ("", "must begin with the word curl"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_in_words(command: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_curl(command)
