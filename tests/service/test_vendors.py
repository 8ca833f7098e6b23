"""Signatures: good, wrong, aged, and what no vendor would send."""

import pytest

from stub_server.service.vendors import VERIFY
from tests.service.sending import signature

BODY = b'{"id": 1}'
NOW = 1_800_000_000
SCHEMES = ("stripe", "hmac-sha256-base64", "hmac-sha256-hex")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_good_signature(scheme: str) -> None:
    assert VERIFY[scheme](b"secret", signature(scheme, "secret", BODY, NOW), BODY, NOW, 300)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_other_secret_other_body_and_rubbish_are_refused(scheme: str) -> None:
    verify, good = VERIFY[scheme], signature(scheme, "secret", BODY, NOW)
    assert not verify(b"other", good, BODY, NOW, 300)
    assert not verify(b"secret", good, BODY + b" ", NOW, 300)
    for header in ("", "t=,v1=", "t=1", "v1=ab", "t=²,v1=a", "t=" + "9" * 5000, "\udcff", good[:-1], good + "0"):
        assert not verify(b"secret", header, BODY, NOW, 300)


@pytest.mark.parametrize(("age_s", "accepted"), [(0, True), (300, True), (301, False), (-60, True)])
def test_stripe_tolerance_counts_age_alone(age_s: int, accepted: bool) -> None:
    header = signature("stripe", "secret", BODY, NOW - age_s)
    assert VERIFY["stripe"](b"secret", header, BODY, NOW, 300) is accepted


def test_stripe_time_is_signed() -> None:
    aged = signature("stripe", "secret", BODY, NOW - 1000)
    assert not VERIFY["stripe"](b"secret", aged.replace(f"t={NOW - 1000}", f"t={NOW}"), BODY, NOW, 300)


def test_stripe_accepts_any_of_several_signatures() -> None:
    header = signature("stripe", "secret", BODY, NOW).replace("v1=", "v1=00,v0=11,v1=")
    assert VERIFY["stripe"](b"secret", header, BODY, NOW, 300)
