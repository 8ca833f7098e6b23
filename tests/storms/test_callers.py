"""What a member of a fleet does before the release."""

from __future__ import annotations

import pytest

from rig.storms.unknown_kid import callers


class DoctorContext:
    """A verifier that refuses so often before it knows the key."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def __call__(self, token: str) -> str:
        self.refusals -= 1
        if self.refusals >= 0:
            raise TimeoutError("another is at it")
        return token


def test_who_waits_for_another_fetch_asks_again_before_the_storm() -> None:
    verify = DoctorContext(2)
    callers._warm_up(verify, "token")
    assert verify.refusals == -1


def test_one_that_could_never_have_served_anybody_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "_WARM_S", 0.1)
    with pytest.raises(TimeoutError, match="another is at it"):
        callers._warm_up(DoctorContext(1_000_000), "token")
