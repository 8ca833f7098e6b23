"""``S1.answers`` … ``S9.answers``: every request got the answer that its class asks for; no 5xx, no timeout, no lost
connection.

What the rig cut off itself is never booked as a wrong answer: it makes the claim INVALID, not false. So do timeouts
alone where the client was at its own limit: it may have been too slow to see the answers; and refusals alone where
the wall clock was stepped: signatures age.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from rig.checks.gates import GateKind, Kind, emits
from rig.checks.instrument import client_limits
from rig.errors import ErrorKind
from rig.evidence.case import Case, describe_missing_reports
from rig.evidence.gate import Gate, Verdict
from rig.evidence.history import has_failed
from rig.model import Outcome

_REFUSALS = (401, 403)
_OWN_DOING = ("none", "not_sent", "aborted")
"""Error kinds that are no fault of the target's."""

ANSWERS = GateKind(
    "*.answers",
    Kind.SERVICE,
    "every request is answered as its class asks: no 5xx, no timeout, no connection error",
)


@emits(ANSWERS)
def check_answers(case: Case) -> list[Gate]:
    """One gate for each scenario that was driven."""
    return [
        _answers_gate(case, scenario)
        for scenario in dict.fromkeys(scenario_run.scenario.id for scenario_run in case.scenario_runs)
    ]


def _answers_gate(case: Case, scenario: str) -> Gate:
    gate_id, rule = ANSWERS.of(scenario), ANSWERS.rule
    scenario_runs = case.scenario_runs_of(scenario)
    rows = case.history[case.history["scenario"] == scenario]
    offered = sum(scenario_run.scenario.count for scenario_run in scenario_runs)
    figures = _figures(rows, offered)
    wrong = _what_is_wrong(figures)
    if wrong:
        limits = [
            limit
            for scenario_run in scenario_runs
            if _timed_out(case.rows_of(scenario_run))
            for limit in client_limits(scenario_run)
        ]
        if limits and figures.get("timeout") == _wrong_count(rows):
            return Gate(gate_id, Verdict.INVALID, rule, figures, f"{wrong}, but {'; '.join(limits)}")
        if (step := case.clock_step()) and _refused_count(rows) == _wrong_count(rows):
            return Gate(gate_id, Verdict.INVALID, rule, figures, f"{wrong}, but the wall clock was {step}")
        return Gate(gate_id, Verdict.FAIL, rule, figures, wrong)
    if any(scenario_run.interrupted for scenario_run in scenario_runs):
        return Gate(gate_id, Verdict.INVALID, rule, figures, "the run was interrupted")
    if missing := describe_missing_reports(scenario_runs):
        return Gate(gate_id, Verdict.INVALID, rule, figures, missing)
    if unsent := offered - figures[Outcome.ACKNOWLEDGED]:
        return Gate(gate_id, Verdict.INVALID, rule, figures, f"{unsent} requests were not sent")
    return Gate(gate_id, Verdict.PASS, rule, figures)


def _wrong_count(rows: pd.DataFrame) -> int:
    """Requests that were answered wrongly, or that the target, not the rig, left without an answer."""
    return int((has_failed(rows) & (rows["error_kind"] != "aborted")).sum())


def _refused_count(rows: pd.DataFrame) -> int:
    """Requests that were taken for somebody else's, as those are whose signature is too old or not yet due."""
    return int(((rows["outcome"] == Outcome.REFUSED) & rows["status"].isin(_REFUSALS)).sum())


def _timed_out(rows: pd.DataFrame) -> bool:
    return bool((rows["error_kind"] == "timeout").any())


def _figures(rows: pd.DataFrame, offered: int) -> dict[str, Any]:
    outcomes = rows["outcome"].value_counts()
    kinds = rows["error_kind"].value_counts()
    figures: dict[str, Any] = {
        "requests": offered,
        **{
            outcome.value: int(outcomes.get(outcome.value, 0))
            for outcome in Outcome
            if outcome is not Outcome.UNREPORTED
        },
        "http_5xx": int((rows["status"] >= 500).sum()),
    }
    for kind, count in kinds.items():
        if count and kind not in ("none", "skipped"):
            figures[str(kind)] = int(count)
    wrong = rows[rows["outcome"] == Outcome.REFUSED]["status"].value_counts()
    if len(wrong):
        figures["wrong_status"] = [f"{status} ({count} times)" for status, count in wrong.head(5).items()]
    return figures


def _what_is_wrong(figures: dict[str, Any]) -> str:
    """In words; empty when nothing is."""
    parts = [f"status {status}" for status in figures.get("wrong_status", [])]
    kinds = [kind.name.lower() for kind in ErrorKind if kind.name.lower() not in _OWN_DOING]
    parts += [f"{figures[kind]} {kind.replace('_', ' ')}" for kind in kinds if kind in figures]
    return f"wrong answers: {', '.join(parts)}" if parts else ""
