"""``S1.answers`` … ``S9.answers``: every request got the answer that its class asks for; no 5xx, no timeout, no lost
connection.

What the rig cut off itself is never booked as a wrong answer: it makes the claim INVALID, not false.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from rig.checks.case import Case
from rig.model import Gate, Outcome, Verdict


def check_answers(case: Case) -> list[Gate]:
    """One gate for each scenario that was driven."""
    return [_answers_gate(case, scenario) for scenario in dict.fromkeys(drive.scenario.id for drive in case.drives)]


def _answers_gate(case: Case, scenario: str) -> Gate:
    gate_id = f"{scenario}.answers"
    rule = "every request is answered as its class asks: no 5xx, no timeout, no connection error"
    drives = case.drives_of(scenario)
    rows = case.history[case.history["scenario"] == scenario]
    offered = sum(drive.scenario.count for drive in drives)
    figures = _figures(rows, offered)
    if figures["fail"] or _rightly_indeterminate(rows):
        return Gate(gate_id, Verdict.FAIL, rule, figures, _what_is_wrong(figures))
    if any(drive.interrupted for drive in drives):
        return Gate(gate_id, Verdict.INVALID, rule, figures, "the run was interrupted")
    if not all(drive.complete for drive in drives):
        return Gate(gate_id, Verdict.INVALID, rule, figures, "a worker's report is missing")
    if figures["ok"] != offered:
        return Gate(gate_id, Verdict.INVALID, rule, figures, f"{offered - figures['ok']} requests were not sent")
    return Gate(gate_id, Verdict.PASS, rule, figures)


def _rightly_indeterminate(rows: pd.DataFrame) -> int:
    """Indeterminate requests that the target, not the rig, left so."""
    return int(((rows["outcome"] == Outcome.INFO) & (rows["error_kind"] != "aborted")).sum())


def _figures(rows: pd.DataFrame, offered: int) -> dict[str, Any]:
    outcomes = rows["outcome"].value_counts()
    kinds = rows["error_kind"].value_counts()
    figures: dict[str, Any] = {
        "requests": offered,
        **{outcome.value: int(outcomes.get(outcome.value, 0)) for outcome in Outcome},
        "http_5xx": int((rows["status"] >= 500).sum()),
    }
    for kind, count in kinds.items():
        if count and kind not in ("none", "not_sent"):
            figures[str(kind)] = int(count)
    wrong = rows[(rows["outcome"] == Outcome.FAIL) & (rows["status"] > 0)]["status"].value_counts()
    if len(wrong):
        figures["wrong_status"] = [f"{status} ({count} times)" for status, count in wrong.head(5).items()]
    return figures


def _what_is_wrong(figures: dict[str, Any]) -> str:
    parts = [f"{status}" for status in figures.get("wrong_status", [])]
    known = {"requests", "ok", "fail", "info", "skipped", "http_5xx", "wrong_status"}
    parts += [f"{count} {kind.replace('_', ' ')}" for kind, count in figures.items() if kind not in known]
    return "wrong answers: " + ", ".join(parts)
