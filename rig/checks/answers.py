"""``S1.answers`` … ``S9.answers``: every request got the answer that its class asks for.

A 5xx, a timeout or a lost connection is FAIL. A few stale connections are nobody's fault: a server may close an idle
connection at any time, and a request may then be on its way. The gate is INVALID where the rig itself may have caused
it: it cut the request off; there were only timeouts, and the client was at its limit and may have seen the answers too
late, or others held the machine meanwhile; there were only refusals, and the wall clock was stepped, so that signatures
were out of date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rig.checks.aftermath import describe_neighbours, waits_of, was_broken
from rig.checks.gates import GateKind, Kind, emits
from rig.checks.instrument import client_limits
from rig.errors import ErrorKind
from rig.evidence.capacity import CAPACITY
from rig.evidence.case import Case, describe_missing_reports
from rig.evidence.chaos import S11
from rig.evidence.gate import Gate
from rig.evidence.history import CONTRADICTIONS, find_causes_of_loss, has_failed, was_let_in
from rig.evidence.sample_names import Role
from rig.evidence.scenario_runs import ScenarioRun
from rig.limits import STALE_MOST
from rig.model import FORGED, Outcome, RequestClass
from rig.text import counted

_REFUSALS = (401, 403)
"""How a target answers a signature that is too old or not yet valid."""
_OWN_DOING = ("none", "not_sent", "aborted")
"""Error kinds that the target did not cause."""
_LOST = ErrorKind.CONNECTION_LOST.name.lower()
STALE = ErrorKind.STALE_CONNECTION.name.lower()
_SEEN_WITHIN_NS = 1_000_000_000
"""The samplers look at a process several times within this."""

ANSWERS = GateKind(
    "*.answers",
    Kind.SERVICE,
    "every request is answered as its class asks: no 5xx, no timeout, no connection error",
)


@emits(ANSWERS)
def check_answers(case: Case) -> list[Gate]:
    """One gate for each scenario of the run, and NOT-RUN for each that the target could not be sent.

    None for the steps of ``rig capacity``: they ask for more than the target can answer.
    """
    scenarios = dict.fromkeys(run.scenario.id for run in case.scenario_runs if run.scenario.id != CAPACITY)
    gates = [_answers_gate(case, scenario) for scenario in scenarios]
    left_out = ((scenario, why) for scenario, why in case.left_out.items() if scenario not in (FORGED, S11))
    return gates + [ANSWERS.not_run(why, name=scenario) for scenario, why in left_out]


def _answers_gate(case: Case, scenario: str) -> Gate:
    runs = case.scenario_runs_of(scenario)
    rows, offered = case.history[case.history["scenario"] == scenario], sum(run.offered for run in runs)
    # The gate ``forged`` is about those let in, and what the rig has broken is nobody's fault.
    apart = was_let_in(rows) | was_broken(case, rows) if scenario == S11 else was_let_in(rows)
    rows, offered = rows[~apart], offered - int(apart.sum())
    figures = _figures(rows, offered)
    if broken := next((report.broken_rule for run in runs for report in run.present if report.broken_rule), ""):
        figures["broken_rule"] = broken
    unproven = ""
    wrong_first = _wrong_first_answers(case, rows, figures)
    excused = sum(_count_excused(case, run, rows[rows["scenario_run"] == run.scenario.label]) for run in runs)
    if wrong := _what_is_wrong(figures, excused):
        if excuse := _excuse(case, runs, rows, figures):
            wrong, unproven = "", f"{wrong}, but {excuse}"
    elif any(run.interrupted for run in runs):
        unproven = "the run was interrupted"
    elif missing := describe_missing_reports(runs):
        unproven = missing
    elif unsent := offered - figures[Outcome.ACKNOWLEDGED] - excused:
        unproven = counted(unsent, "request was not sent", "requests were not sent")
    wrong = "; ".join(filter(None, (wrong, wrong_first)))
    if not wrong and not unproven and not offered:
        return ANSWERS.not_run("it had no request to send", figures, name=scenario)
    return ANSWERS.decide(figures, wrong=wrong, unproven=unproven, name=scenario)


def _count_excused(case: Case, run: ScenarioRun, rows: pd.DataFrame) -> int:
    """How many stale connections of a run are nobody's fault: none where they are many, or a server process ended."""
    stale = int((rows["error_kind"] == STALE).sum())
    ended = run.scenario.id != S11 and _has_ended(case, rows)  # the rig itself ends processes there
    is_gone = (rows["error_kind"] == "connect").any() or ended
    return 0 if is_gone or stale > STALE_MOST * run.scenario.count else stale


def _has_ended(case: Case, rows: pd.DataFrame) -> bool:
    """Whether a process of the target was seen last while these requests were sent, before the samplers ended."""
    pids = case.samples.pids
    server = pids[pids["role"] == Role.SERVER]
    last_ns = server.groupby("pid")["at_ns"].max()
    last_ns = last_ns[last_ns < pids["at_ns"].max() - _SEEN_WITHIN_NS]
    return bool(last_ns.between(rows["intended_ns"].min() - _SEEN_WITHIN_NS, rows["done_ns"].max()).any())


def _wrong_first_answers(case: Case, rows: pd.DataFrame, figures: dict[str, Any]) -> str:
    """What is wrong where the first request of a key is answered otherwise than the others; empty where nothing is.

    A key that was answered as new twice was made twice. One that was only ever answered as known has no winner: the
    losers of a race were told of a row that nobody had made. A request without an answer may be the winner, and so may
    one that a worker without a report has sent.
    """
    twice = never = 0
    replays = rows[rows["class"] == RequestClass.REPLAY]
    for route, own in replays.groupby("route", observed=True):
        replay = _answer_on(case.profile, RequestClass.REPLAY, str(route))
        first = set(replay.get("status", ())) - set(replay.get("again", ()))
        if replay.get("again") and first:
            more, none = _count_wrong_firsts(case, own, first)
            twice, never = twice + more, never + none
    figures |= {"keys_answered_as_new_twice": twice} if twice else {}
    figures |= {"keys_never_answered_as_new": never} if never else {}
    parts = [f"{counted(twice, 'key was', 'keys were')} answered as new more than once"] if twice else []
    parts += [f"{counted(never, 'key was', 'keys were')} answered as known and never as new"] if never else []
    return "; ".join(parts)


def _answer_on(profile: Mapping[str, Any], kind: RequestClass, route: str) -> dict[str, Any]:
    """What the profile of a pack says of the answer to a class on a route; empty where it says nothing."""
    given: Any = (profile.get("answers") or {}).get(kind.value)
    known = dict(given) if isinstance(given, Mapping) else {}
    for each in profile.get("routes") or ():
        if each["name"] == route:
            own = (each.get("answers") or {}).get(kind.value) or {}
            known |= {key: value for key, value in own.items() if value is not None}
    return known


def _count_wrong_firsts(case: Case, replays: pd.DataFrame, first: set[int]) -> tuple[int, int]:
    """How many keys were answered as new more than once, and how many only ever as known."""
    stepless = {run.scenario.label for run in case.scenario_runs if run.scenario.key_step is not None}
    key = replays["scenario_run"].astype(str)
    key = key.where(~key.isin(stepless), "one key")
    of_key = [key, replays["tenant"]]
    won = replays["status"].isin(list(first)).groupby(of_key, observed=True).sum()
    is_known = (replays["outcome"] == Outcome.ACKNOWLEDGED).groupby(of_key, observed=True).any()
    unreported = [run.scenario.label for run in case.scenario_runs if not run.complete]
    is_open = (replays["outcome"] == Outcome.INDETERMINATE) | replays["scenario_run"].isin(unreported)
    may_have_won = is_open.groupby(of_key, observed=True).any()
    return int((won > 1).sum()), int(((won == 0) & is_known & ~may_have_won).sum())


def _excuse(case: Case, runs: Sequence[ScenarioRun], rows: pd.DataFrame, figures: Mapping[str, Any]) -> str:
    """Why wrong answers may not be the target's fault; empty where they are."""
    wrong_count = int((has_failed(rows) & (rows["error_kind"] != "aborted")).sum())
    late = [run for run in runs if (case.rows_of(run)["error_kind"] == "timeout").any()]
    limits = [limit for run in late for limit in client_limits(run)]
    limits += [busy] if (busy := describe_neighbours(case, waits_of(rows[rows["error_kind"] == "timeout"]))) else []
    if limits and figures.get("timeout") == wrong_count:
        return "; ".join(limits)
    refused = (rows["outcome"] == Outcome.REFUSED) & rows["status"].isin(_REFUSALS)
    if (step := case.clock_step()) and int(refused.sum()) == wrong_count:
        return f"the wall clock was {step}"
    return ""


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
        if count and kind not in ("none", "skipped", *CONTRADICTIONS):
            figures[str(kind)] = int(count)
    if closed := len(find_causes_of_loss(rows)):
        figures[_LOST] -= closed
        figures["closed_after_5xx"] = closed
    wrong = rows[rows["outcome"] == Outcome.REFUSED]["status"].value_counts()
    if len(wrong):
        figures["wrong_status"] = [f"{status} ({counted(count, 'time')})" for status, count in wrong.head(5).items()]
    return figures


def _what_is_wrong(figures: dict[str, Any], excused: int) -> str:
    """The wrong answers in words; empty where there are none. ``excused``: stale connections that are no fault."""
    parts = [f"status {status}" for status in figures.get("wrong_status", [])]
    kinds = [kind.name.lower() for kind in ErrorKind if kind.name.lower() not in _OWN_DOING]
    counts = {kind: figures.get(kind, 0) - (excused if kind == STALE else 0) for kind in kinds}
    parts += [f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items() if count]
    if closed := figures.get("closed_after_5xx"):
        parts.append(
            f"after {closed} of these the target closed the connection without saying so, and the next request on it "
            "was lost"
        )
    rule = f" ({figures['broken_rule']})" if "broken_rule" in figures else ""
    return f"wrong answers: {', '.join(parts)}{rule}" if parts else ""
