"""Signatures in the forms that a profile can describe beyond the body's own: prefixes, and the time signed along."""

from __future__ import annotations

import base64
import hashlib
import hmac
import tomllib
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from rig.model import Scheme
from rig.profile import Profile, WebhookRoute, bundled_profile
from rig.requests.signer import signer
from rig.requests.targeter import Targeter
from tests.engine.scenes import RUN, credentials, scenario, taken_apart

UNIX = 1_800_000_123


def described(**changes: Any) -> dict[str, Any]:
    """The reference profile as a document, with two routes: the second (an HMAC of the body) is changed."""
    document = tomllib.loads(bundled_profile().read_text())
    document["routes"] = [document["routes"][0], {**document["routes"][2], **changes}]
    return document


def route(**changes: Any) -> WebhookRoute:
    return Profile.model_validate(described(**changes)).routes[1]


def test_the_example_that_github_publishes() -> None:
    """docs.github.com, "Validating webhook deliveries"."""
    sign = signer(route(scheme="hmac-sha256-hex"), "It's a Secret to Everybody")
    assert sign(b"Hello, World!") == b"757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_every_scheme_of_a_profile_can_sign() -> None:
    for scheme in get_args(Scheme):
        own = {"signature_header": None} if scheme == "none" else {}
        assert signer(route(scheme=scheme, **own), "secret")(b"body")


def test_a_signed_time_is_told_in_its_header() -> None:
    profile = Profile.model_validate(
        described(
            scheme="hmac-sha256-base64",
            signature_prefix="v0=",
            signed="v0:<unix>:<body>.<unix>",
            timestamp_header="X-Time",
        )
    )
    own = profile.routes[1]
    targets = Targeter(profile, RUN).bind(scenario(1, route=own.name), credentials(profile))
    message = taken_apart(targets.request(0, UNIX))
    signed = b"v0:%d:%s.%d" % (UNIX, message.body, UNIX)
    digest = hmac.new(f"{own.secret}-of-A".encode(), signed, hashlib.sha256).digest()
    assert message.headers["X-Time"] == str(UNIX)
    assert message.headers[own.signature_header] == f"v0={base64.b64encode(digest).decode()}"


def test_base64_of_a_url_may_lack_its_end() -> None:
    digest = hmac.new(b"s3cret", b"text", hashlib.sha256).digest()
    signed = signer(route(scheme="hmac", encoding="base64url-unpadded"), "s3cret")(b"text")
    assert signed == base64.urlsafe_b64encode(digest)[:-1]


def test_a_prefix_before_the_tenants_key() -> None:
    document = described()
    document["headers"] = {**document["headers"], "tenant_key": "Authorization", "tenant_key_prefix": "Token "}
    profile = Profile.model_validate(document)
    targets = Targeter(profile, RUN).bind(scenario(1, route=profile.routes[1].name), credentials(profile))
    assert taken_apart(targets.request(0, UNIX)).headers["Authorization"] == "Token key-of-A"


@pytest.mark.parametrize(
    ("changes", "ages"),
    [
        ({}, False),
        ({"signature_prefix": "sha256="}, False),
        ({"signed": "<unix>.<body>", "timestamp_header": "X-Time"}, True),
        ({"scheme": "stripe"}, True),
    ],
)
def test_what_holds_its_time_ages(changes: dict[str, Any], ages: bool) -> None:
    assert (route(**changes).max_age_s is not None) is ages


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"signed": ""}, "is not what is signed"),
        ({"signed": "<body>.<secret_key>"}, "unknown placeholder <secret_key>"),
        ({"signed": "v0:\r\n<body>"}, "is not what is signed"),
        ({"signed": "<now>.<key>", "body": '{"id":"<event>"}'}, "has a time that no header carries"),
        ({"timestamp_header": "X-Time"}, "the time is not signed"),
        ({"timestamp_header": "X-Time", "signed": "<unix_ms><body>"}, 'headers = { X-Time = "<unix_ms>" }'),
        ({"body": '{"mac":"<signature>"}'}, "body carries <signature>, so signed cannot have <body>"),
        ({"path": "/hook?mac=<signature>", "signed": "<url>"}, "path carries <signature>, so signed cannot have <url>"),
        ({"scheme": "none"}, "signs nothing"),
        ({"scheme": "hmac", "signature_header": None}, "nothing carries the signature"),
        ({"scheme": "token", "signature_header": None}, "nothing carries the token"),
        ({"sender": "nobody"}, "is no preset"),
        ({"signature_prefix": "a\nb"}, "is not the beginning of a header's value"),
        ({"signature_prefix": " a"}, "is not the beginning of a header's value"),
        ({"scheme": "stripe", "signature_prefix": "v2="}, "has its own signature_prefix"),
        ({"signed": "<unix><body>", "timestamp_header": "x-tenant-key"}, "have the same name"),
    ],
)
def test_what_cannot_be_a_signature(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Profile.model_validate(described(**changes))


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 200])
def test_keys_of_any_length_sign_as_rfc_2104_has_it(length: int) -> None:
    secret = bytes(range(length))
    sign = signer(route(secret_encoding="hex"), secret.hex())
    assert base64.b64decode(sign(b"body")) == hmac.new(secret, b"body", hashlib.sha256).digest()
