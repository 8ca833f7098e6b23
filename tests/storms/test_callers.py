"""What a member of a fleet does before the release."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rig.storms.unknown_kid import callers
from rig.storms.unknown_kid.call_journal import CallJournal, read_open_calls


class DoctorContext:
    """A verifier that refuses so often before it knows the key."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def __call__(self, token: str) -> str:
        self.refusals -= 1
        if self.refusals >= 0:
            raise TimeoutError("another is at it")
        return token


def test_who_waits_for_another_fetch_asks_again_before_the_storm(tmp_path: Path) -> None:
    verify = DoctorContext(2)
    callers._warm_up(verify, "token", CallJournal(str(tmp_path), 0, 0))
    assert verify.refusals == -1


def test_one_that_could_never_have_served_anybody_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(callers, "_WARM_S", 0.1)
    with pytest.raises(TimeoutError, match="another is at it"):
        callers._warm_up(DoctorContext(1_000_000), "token", CallJournal(str(tmp_path), 0, 0))
    assert not list(read_open_calls(tmp_path))


def test_a_member_starts_with_little() -> None:
    """A fleet starts many at once: what each imports is most of the time before the release."""
    heavy = {"numpy", "pandas", "psycopg", "pydantic"}
    code = f"import sys, rig.storms.unknown_kid.callers; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
