"""probes and hygiene: what was to be seen beside the storms."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from rig.checks.surroundings import check_leaks, check_probes
from rig.evidence.case import Case, Finding
from rig.evidence.gate import Gate, Verdict
from rig.evidence.samples import Samples
from tests.checks.cases import ABORTED, BROKEN, OK, SKIPPED, TIMEOUT, beside, case, driven, plan, probes

PROFILE = {"probes": {"health": "/up", "ready": "/ready", "metrics": None, "timeout_s": 2.0}}
STORM = plan(count=20)
NOBODY = Samples()
ALL_GOOD = probes((0, "/up", 200), (1, "/ready", 200), (1000, "/up", 200), (1001, "/ready", 200))


def judged(asked: pd.DataFrame, *endings: Any, samples: Samples = NOBODY, **how: Any) -> Gate:
    (gate,) = check_probes(case(driven(STORM, endings, **how), probes=asked, profile=PROFILE, samples=samples))
    assert gate.id == "probes"
    return gate


READY_IN_STORM = probes((25, "/ready", 200))  # after the storm's twenty answers, one a millisecond


@pytest.mark.parametrize(
    ("gate", "verdict", "reason"),
    [
        (judged(ALL_GOOD), Verdict.PASS, ""),
        # One bad answer is one too many: wrong, late or none.
        (
            judged(probes((0, "/up", 200), (1, "/ready", 503))),
            Verdict.FAIL,
            "1 bad answers, the first: /ready status 503",
        ),
        (judged(probes((0, "/up", 0), (1, "/ready", 200))), Verdict.FAIL, "1 bad answers, the first: /up refused"),
        # Ready while every request fails is a finding, however they fail.
        (judged(READY_IN_STORM, *[BROKEN] * 20), Verdict.FAIL, "ready while every request failed"),
        (judged(READY_IN_STORM, *[TIMEOUT] * 20), Verdict.FAIL, "ready while every request failed"),
        # One good answer among them and it is not blind.
        (judged(READY_IN_STORM, OK, *[BROKEN] * 19), Verdict.PASS, ""),
        # Health claims nothing about events.
        (judged(probes((25, "/up", 200)), *[BROKEN] * 20), Verdict.PASS, ""),
        # Asked long before or after the failures.
        (judged(probes((-1, "/ready", 200), (1100, "/ready", 200)), *[BROKEN] * 20), Verdict.PASS, ""),
        # What the rig cut off is no failure of the target's: nothing that readiness should have noticed.
        (judged(READY_IN_STORM, *[SKIPPED] * 20), Verdict.PASS, ""),
        (judged(READY_IN_STORM, *[ABORTED] * 20, interrupted=True), Verdict.PASS, ""),
        # Fewer than ten failures are no storm.
        (judged(READY_IN_STORM, *[BROKEN] * 9, *[SKIPPED] * 11), Verdict.PASS, ""),
        # The profile names probes and nothing was asked: the prober is dead.
        (judged(probes()), Verdict.INVALID, "none was asked"),
    ],
)
def test_probes(gate: Gate, verdict: Verdict, reason: str) -> None:
    assert gate.verdict is verdict
    assert reason in gate.reason
    assert bool(gate.reason) == (verdict is not Verdict.PASS)


@pytest.mark.parametrize(
    ("error", "share", "verdict"),
    [
        ("timed out", 0.4, Verdict.INVALID),
        ("answered 200, but later than 2 s", 0.4, Verdict.INVALID),
        ("timed out", 0.1, Verdict.FAIL),
        ("refused", 0.9, Verdict.FAIL),  # an error is no lack of time
    ],
)
def test_others_who_hold_the_machine_explain_late_answers_and_nothing_else(
    error: str, share: float, verdict: Verdict
) -> None:
    asked = probes((10_000, "/ready", 0), (20_000, "/ready", 200)).assign(elapsed_ns=2_000_000_000)
    asked["error"] = [error, ""]
    gate = judged(asked, samples=beside((0, 60, share)))
    assert (gate.verdict, error in gate.reason) == (verdict, True)
    assert ("the machine was busy: other processes held 40%" in gate.reason) == (verdict is Verdict.INVALID)
    mixed = judged(asked.assign(status=[0, 503]), samples=beside((0, 60, share)))
    assert mixed.verdict is Verdict.FAIL


def test_probe_figures() -> None:
    gate = judged(probes((0, "/up", 0), (1, "/ready", 503), (2, "/up", 200)))
    assert gate.figures == {"asked": 3, "unanswered": 1, "not_2xx": 1, "slowest_ms": 2.0}


@pytest.mark.parametrize("profile", [{}, {"probes": {}}, {"probes": {"health": None, "timeout_s": 2.0}}])
def test_a_profile_without_probes_has_no_such_gate(profile: dict[str, Any]) -> None:
    assert check_probes(case(driven(STORM), profile=profile)) == []
    assert check_probes(Case(profile=profile)) == []


def test_probes_without_history() -> None:
    (gate,) = check_probes(Case(probes=ALL_GOOD, profile=PROFILE))
    assert gate.verdict is Verdict.PASS


def test_hygiene() -> None:
    clean = Finding("before", "processes of an earlier run", True)
    dirty = Finding("after", "the target's port", False, "8080")
    assert check_leaks(Case()) == []
    (gate,) = check_leaks(Case(leak_findings=(clean,)))
    assert (gate.verdict, gate.figures) == (Verdict.PASS, {"looked_at": 1, "not_clean": 0})
    # What was left may have disturbed the measurement; it says nothing about the target.
    (gate,) = check_leaks(Case(leak_findings=(clean, dirty)))
    assert (gate.verdict, gate.reason) == (Verdict.INVALID, "after: the target's port: 8080")
