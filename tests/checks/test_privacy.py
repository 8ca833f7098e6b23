"""privacy.*: a hit is a hit; finding nothing counts only where something was looked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rig.checks.power import detection_power
from rig.checks.privacy import check_privacy
from rig.evidence.case import Case
from rig.evidence.echoes import Echoes
from rig.evidence.gate import Gate, Verdict
from rig.evidence.truth import CanaryHit
from rig.model import RequestClass
from tests.checks.cases import BROKEN, SKIPPED, Driven, by_id, case, driven, group, plan, truth, verdicts

S4 = plan("S4", request_class=RequestClass.PERSONAL)
IN_TABLE = CanaryHit("public.dead_events.payload", False, "email", "S4-10-stripe-1 request 3 of tenant A", "$.a.email")
IN_LOG = CanaryHit("target.log:17", True, "phone", "S4-10-stripe-1 request 4 of tenant A")
PASS, FAIL, INVALID, NOT_RUN = Verdict.PASS, Verdict.FAIL, Verdict.INVALID, Verdict.NOT_RUN


def judged(scenario_run: Driven | None = None, **found: Any) -> tuple[Verdict, Verdict]:
    """Verdicts on rows and logs."""
    gates = verdicts(check_privacy(case(scenario_run or driven(S4), truth=truth([group(S4)], **found))))
    return gates["privacy.rows"], gates["privacy.logs"]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        # Personal data was sent and taken, everything was searched, nothing was found.
        (judged(), (PASS, PASS)),
        # A hit belongs to where it was found.
        (judged(canary_hits=(IN_TABLE,)), (FAIL, PASS)),
        (judged(canary_hits=(IN_LOG,)), (PASS, FAIL)),
        (judged(canary_hits=(IN_TABLE, IN_LOG)), (FAIL, FAIL)),
        # It stands, whoever did not report and whatever was not acknowledged.
        (judged(driven(S4, reported=False), canary_hits=(IN_TABLE,)), (FAIL, INVALID)),
        (judged(driven(S4, [BROKEN] * 10), canary_hits=(IN_LOG,)), (INVALID, FAIL)),
        (judged(driven(plan("S2")), canary_hits=(IN_TABLE,)), (FAIL, NOT_RUN)),
        # Nothing was looked at: no column, no file, a file that could not be read.
        (judged(columns_scanned=0), (INVALID, PASS)),
        (judged(log_files_scanned=()), (PASS, NOT_RUN)),
        (judged(log_files_unread=("audit.log",)), (PASS, INVALID)),
        (judged(log_files_scanned=(), log_files_unread=("audit.log",)), (PASS, INVALID)),
        # Rows that hold a personal key, of the run or older: nobody knows.
        (judged(keys_unattributed=3), (INVALID, PASS)),
        (judged(keys_unattributed=3, canary_hits=(IN_TABLE,)), (FAIL, PASS)),
        # Nothing was there to be found: none offered, none sent, none taken.
        (judged(driven(plan("S2"))), (NOT_RUN, NOT_RUN)),
        (judged(driven(S4, [SKIPPED] * 10)), (INVALID, INVALID)),
        (judged(driven(S4, [BROKEN] * 10)), (INVALID, INVALID)),
        # Whatever the worker that is silent sent, nobody can say.
        (judged(driven(S4, reported=False)), (INVALID, INVALID)),
        # A busy client is no excuse and no doubt.
        (judged(driven(S4, cpu_user_s=0.99)), (PASS, PASS)),
    ],
)
def test_privacy(found: tuple[Verdict, Verdict], verdict: tuple[Verdict, Verdict]) -> None:
    assert found == verdict


def test_a_hit_names_request_place_and_path() -> None:
    found = truth([group(S4)], canary_hits=(IN_TABLE,) * 7)
    gate = by_id(check_privacy(case(driven(S4), truth=found)))["privacy.rows"]
    assert gate.reason == "7 hits, the first in public.dead_events.payload"
    assert gate.figures["hits"] == 7
    assert (
        gate.figures["first"]
        == ["email of S4-10-stripe-1 request 3 of tenant A in public.dead_events.payload at $.a.email"] * 5
    )


def test_without_truth_nothing_is_claimed() -> None:
    for empty in (Case(), case(driven(S4), truth=None)):
        assert set(verdicts(check_privacy(empty)).values()) == {INVALID}


def test_an_empty_truth_is_no_proof() -> None:
    assert set(verdicts(check_privacy(Case(truth=truth()))).values()) == {NOT_RUN}


@pytest.mark.parametrize(
    ("own", "allowed"),
    [
        ({"policy": "refuse", "columns": []}, None),
        ({"policy": "scrub", "columns": []}, "personal keys, without their values"),
        ({"policy": "keep", "columns": ["events.payload"]}, ["events.payload"]),
    ],
)
def test_the_gate_says_what_the_profile_allowed(own: dict[str, Any], allowed: object) -> None:
    found = case(driven(S4), truth=truth([group(S4)]), profile={"personal_data": own})
    gate = by_id(check_privacy(found))["privacy.rows"]
    assert (gate.verdict, gate.figures.get("allowed_by_the_profile")) == (PASS, allowed)


HIT = CanaryHit("the body of an answer", False, "value cnry (reversed)", "S4 request 1")


def said(**changes: object) -> dict[str, Gate]:
    echoes = replace(Echoes(answers=6, right=6, metrics_bytes=900), **changes)  # type: ignore[arg-type]
    return {
        gate.id: gate for gate in check_privacy(Case(echoes=echoes)) if gate.id not in ("privacy.rows", "privacy.logs")
    }


def test_answers_and_metrics_without_personal_data_pass() -> None:
    assert {name: gate.verdict for name, gate in said().items()} == {
        "privacy.answers": Verdict.PASS,
        "privacy.metrics": Verdict.PASS,
    }


def test_a_value_in_an_answer_or_in_the_metrics_fails_its_own_gate() -> None:
    for part, gate in (("in_answers", "privacy.answers"), ("in_metrics", "privacy.metrics")):
        found = said(**{part: (HIT,)})
        assert [name for name, each in found.items() if each.verdict is Verdict.FAIL] == [gate]
        assert "reversed" in found[gate].reason


def test_the_gate_says_how_many_answers_of_the_load_were_not_read() -> None:
    loaded = case(driven(S4))
    answered = int((loaded.history["status"] > 0).sum())
    assert answered == S4.count
    for of_load, unread in ((answered, 0), (answered - 3, 3)):
        heard = replace(loaded, echoes=Echoes(answers=6, right=6, of_load=of_load))
        gates = check_privacy(heard)
        assert by_id(gates)["privacy.answers"].figures["unread"] == unread
        power = {each.name: each for each in detection_power(heard, gates)}["echoes"]
        assert (power.trials, power.note) == (6 + answered - unread, f"{unread} more were not read" if unread else "")


def test_where_nothing_was_answered_nothing_passes() -> None:
    assert {gate.verdict for gate in said(answers=0, right=0).values()} == {Verdict.INVALID}
    assert said(metrics_bytes=0)["privacy.metrics"].verdict is Verdict.INVALID
    assert "only their beginning was searched" in said(metrics_bytes=1 << 20)["privacy.metrics"].reason
    assert said(metrics_bytes=None)["privacy.metrics"].verdict is Verdict.NOT_RUN


def test_where_nobody_listened_there_is_no_gate() -> None:
    assert {gate.id for gate in check_privacy(Case())} == {"privacy.rows", "privacy.logs"}
