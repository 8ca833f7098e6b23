"""What a run could have seen: for each kind of defect the number of trials that its gates judged.

Flow: ``detection_power`` counts, over the evidence and the gates that came of it; the formula is in
``rig.evidence.power``. A gate that is NOT-RUN or INVALID has no trials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pandas as pd

from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.power import DetectionPower, rarest_found
from rig.model import Outcome, RequestClass


@dataclass(frozen=True, slots=True)
class _Family:
    """One kind of defect, the ``gates`` (patterns) that find it, and what counts the trials of those that were judged.

    ``count`` gets the case and the judged gates by id, and ``note`` their figures.
    """

    name: str
    defect: str
    of: str
    gates: tuple[str, ...]
    count: Callable[[Case, Mapping[str, Gate]], int]
    note: Callable[[Mapping[str, Gate]], str] = lambda gates: ""


def detection_power(case: Case, gates: Sequence[Gate]) -> tuple[DetectionPower, ...]:
    """What the run could have seen, one value for each kind of defect; none where it sent nothing."""
    if not case.scenario_runs:
        return ()
    judged = {gate.id: gate for gate in gates if gate.verdict in (Verdict.PASS, Verdict.FAIL)}
    return tuple(_power(family, case, judged) for family in _FAMILIES)


def _power(family: _Family, case: Case, judged: Mapping[str, Gate]) -> DetectionPower:
    own = {name: gate for name, gate in judged.items() if any(fnmatchcase(name, pattern) for pattern in family.gates)}
    trials = family.count(case, own) if own else 0
    why = f"this run has no {family.of}" if own else "no gate of this run judged it"
    note = family.note(own) if trials else why
    return DetectionPower(family.name, family.defect, family.of, trials, rarest_found(trials), note)


def _count_single_keys(case: Case, gates: Mapping[str, Gate]) -> int:
    """Keys that must have a row because of one request. A replayed key is lost only with all its requests."""
    if case.truth is None:
        return 0
    replayed = {run.scenario.label for run in case.scenario_runs if any(share.one_key for share in run.scenario.shares)}
    again = {run.scenario.label for run in case.scenario_runs if run.scenario.keys_of}
    return sum(
        max(0, group.canonical_min + group.dead_min - (group.scenario_run in replayed))
        for group in case.truth.groups
        if gates.keys() & {f"{group.scenario}.rows", f"{group.scenario}.exactly_once"}
        and group.scenario_run not in again
    )


def _count_replays(case: Case) -> pd.Series:
    """How often each replayed key was acknowledged, of those that were more than once."""
    history = case.history
    acknowledged = history[(history["class"] == RequestClass.REPLAY) & (history["outcome"] == Outcome.ACKNOWLEDGED)]
    steps = {run.scenario.label: run.scenario.id for run in case.scenario_runs if run.scenario.key_step is not None}
    key = acknowledged["scenario_run"].astype(str).replace(steps)
    counts = acknowledged.groupby([key, acknowledged["tenant"]], observed=True).size()
    return counts[counts > 1]


def _count_repeats(case: Case, gates: Mapping[str, Gate]) -> int:
    """Requests that came after their key, or after their event, was acknowledged, and were acknowledged too."""
    redelivering = [run.scenario.label for run in case.scenario_runs if run.scenario.redelivery is not None]
    history = case.history
    attempts = history[history["scenario_run"].isin(redelivering) & (history["outcome"] == Outcome.ACKNOWLEDGED)]
    redelivered = int(attempts.duplicated(["scenario_run", "worker", "seq"]).sum())
    return int((_count_replays(case) - 1).sum()) + redelivered


def _count_acknowledged(case: Case, request_class: RequestClass) -> int:
    history = case.history
    return int(((history["class"] == request_class) & (history["outcome"] == Outcome.ACKNOWLEDGED)).sum())


def _sum_figure(figure: str) -> Callable[[Case, Mapping[str, Gate]], int]:
    """Counts what the gates themselves say that they looked at."""
    return lambda _, gates: sum(int(gate.figures.get(figure) or 0) for gate in gates.values())


def _say_resolution(gates: Mapping[str, Gate]) -> str:
    resolution_ms = max(float(gate.figures.get("resolution_ms") or 0) for gate in gates.values())
    return f"late by more than {resolution_ms:.0f} ms"


def _count_answers_read(case: Case, gates: Mapping[str, Gate]) -> int:
    """Answers to requests with personal data. Nothing says whose the unread ones are: each counts against these."""
    history = case.history
    sent = int(((history["class"] == RequestClass.PERSONAL) & (history["status"] > 0)).sum())
    [gate] = gates.values()
    return int(gate.figures["answers"]) + max(0, sent - int(gate.figures["unread"]))


def _say_unread(gates: Mapping[str, Gate]) -> str:
    [gate] = gates.values()
    unread = int(gate.figures["unread"])
    return f"{unread:,} more were not read" if unread else ""


_FAMILIES = (
    _Family("loss", "a lost row", "acknowledged keys", ("*.rows", "S11.exactly_once"), _count_single_keys),
    _Family(
        "races",
        "a second row where requests with one key arrive at once",
        "keys of several requests at once",
        ("duplicates",),
        lambda case, _: len(_count_replays(case)),
    ),
    _Family(
        "repeats",
        "a second row where a request is sent again",
        "requests that were sent again",
        ("duplicates",),
        _count_repeats,
    ),
    _Family("content", "altered content", "compared keys", ("*.content", "S11.exactly_once"), _sum_figure("compared")),
    _Family("late", "a late row", "watched keys", ("*.late",), _sum_figure("watched"), _say_resolution),
    _Family("forged", "a forged request let in", "forged requests", ("forged",), _sum_figure("sent")),
    _Family(
        "personal",
        "personal data kept in a table",
        "acknowledged requests with such data",
        ("privacy.rows",),
        lambda case, _: _count_acknowledged(case, RequestClass.PERSONAL),
    ),
    _Family(
        "echoes",
        "personal data in an answer",
        "answers to requests with such data",
        ("privacy.answers",),
        _count_answers_read,
        _say_unread,
    ),
)
