"""``rig history`` as it is read: the gates of a run stay whole, however narrow the terminal is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rig.cli.history import history
from rig.evidence.gate import Verdict
from rig.verbs.history import PastRun

GATES = ("storm.forged-tokens.forged-early", "storm.random-kids.amplification")


@pytest.mark.parametrize(("columns", "is_below"), [(80, True), (200, False)])
def test_the_names_of_failing_gates_are_not_broken(
    columns: int, is_below: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = PastRun("a", datetime(2027, 1, 1, tzinfo=UTC), "storm", "shop", Verdict.FAIL, 1, GATES, {})
    monkeypatch.setattr("rig.verbs.history.read_history_of", lambda folder: ((run,), ()))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    assert history.callback is not None
    history.callback(Path(), None, False)
    lines = capsys.readouterr().out.splitlines()
    (gates,) = [line.rstrip() for line in lines if GATES[0] in line]
    assert gates.endswith(", ".join(GATES))
    assert gates.startswith("  storm.") is is_below
