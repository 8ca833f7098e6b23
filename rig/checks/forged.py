"""``forged``: no forged request is answered with a success, and none leaves a row.

What is wrong with a forged request, its class says (``rig.model.Forgery``). How else it is answered (an error of the
server, no answer) is judged by ``forged.answers``, and the valid requests beside it by ``forged.rows``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice

import pandas as pd

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import NOT_READ, Case, describe_missing_reports
from rig.evidence.gate import Gate
from rig.evidence.history import is_forged, was_let_in
from rig.evidence.scenario_runs import ScenarioRun
from rig.evidence.truth import Discrepancy, DiscrepancyKind
from rig.model import FORGED, Forgery, Outcome
from rig.text import counted

_NAMED = 5
_TAKES: Mapping[Forgery, str] = {
    Forgery.WRONG_SECRET: "a secret",
    Forgery.ALTERED_SIGNATURE: "a signature",
    Forgery.TRUNCATED_SIGNATURE: "a signature",
    Forgery.EMPTY_SIGNATURE: "a signature that the keys of a route describe",
    Forgery.EMPTY_HEADER: "a header with more than the signature in it",
    Forgery.NO_SIGNATURE: "a header that carries the signature",
    Forgery.OTHER_EVENT: "a signature of the event, in a header",
    Forgery.OTHER_TENANT: "two tenants with secrets of their own",
    Forgery.OTHER_ROUTE: "two routes with different secrets",
    Forgery.OTHER_ALGORITHM: "a signature that names its algorithm",
    Forgery.STALE: "a signature that becomes too old",
    Forgery.FROM_FUTURE: "tolerance_ahead_s of a route",
    Forgery.BODY_SPACE: "a signature of the whole body",
    Forgery.BODY_VALUE: "a signature of an amount or a time",
    Forgery.UNKNOWN_TENANT: "an API key in a header",
    Forgery.NO_TENANT: "an API key in a header",
}
"""What a profile must have for a kind to be sent."""

GATE = GateKind(
    FORGED,
    Kind.SERVICE,
    "no forged request is answered with a success, and none leaves a row in an event table that is not for rejections",
)


@emits(GATE)
def check_forged(case: Case) -> list[Gate]:
    """Judge all forged requests of the run; no gate where none was to be sent."""
    runs = [run for run in case.scenario_runs if any(share.forgery for share in run.scenario.shares)]
    if not runs:
        return [GATE.not_run(case.left_out[FORGED])] if FORGED in case.left_out else []
    labels = [run.scenario.label for run in runs]
    rows = case.history[case.history["scenario_run"].isin(labels)]
    sent = rows[is_forged(rows) & (rows["outcome"] != Outcome.NOT_SENT)]
    let_in = sent[was_let_in(sent)]
    stored = _stored_forgeries(case, runs)
    figures: dict[str, object] = {
        "sent": len(sent),
        "let_in": len(let_in),
        "stored": len(stored),
        "kinds": _by_kind(sent, sent),
        **({"let_in_kinds": _by_kind(let_in, sent)} if len(let_in) else {}),
        **({"not_run": missing} if (missing := _not_run(runs)) else {}),
    }
    wrong = _what_is_wrong(case, let_in, sent, stored)
    if wrong:
        figures["first"] = _first(case, stored)
    return [GATE.decide(figures, wrong=wrong, unproven=_unproven(case, runs, sent))]


def _what_is_wrong(case: Case, let_in: pd.DataFrame, sent: pd.DataFrame, stored: Sequence[Discrepancy]) -> str:
    parts = []
    if len(let_in):
        parts.append(f"{len(let_in)} of {len(sent)} were let in ({', '.join(_by_kind(let_in, sent))})")
    if stored:
        parts.append(counted(len(stored), "row was stored", "rows were stored"))
    first = _first(case, stored) if parts else []
    return "; ".join(parts) + (f"; the first: {first[0]}" if first else "")


def _stored_forgeries(case: Case, runs: Sequence[ScenarioRun]) -> list[Discrepancy]:
    """The rows of forged requests, and rows that name no request of a tenant that has no other scenario."""
    if case.truth is None:
        return []
    others = {name for run in case.scenario_runs if run not in runs for name in run.scenario.tenants}
    return [
        key
        for key in case.truth.discrepancies
        if key.kind is DiscrepancyKind.FORGED
        or (
            key.kind is DiscrepancyKind.UNEXPECTED
            and not key.scenario_run
            and key.tenant not in others
            and any(key.tenant in run.scenario.tenants for run in runs)
        )
    ]


def _first(case: Case, stored: Sequence[Discrepancy]) -> list[str]:
    let_in = (each for each in case.examples if each.why.startswith(FORGED))
    examples = (f"{each.why}: {each.key} was answered {each.status}" for each in let_in)
    rows = (f"{key.key or key.tenant}: {key.detail}" for key in stored)
    return [*islice(examples, _NAMED), *islice(rows, _NAMED)]


def _by_kind(rows: pd.DataFrame, of: pd.DataFrame) -> list[str]:
    """How many requests of each kind; where these are a part, of how many."""
    counts, all_counts = (Counter(frame["class"].astype(str)) for frame in (rows, of))
    return [
        f"{name.removeprefix(f'{FORGED}: ')} {count}" + (f" of {all_counts[name]}" if rows is not of else "")
        for name, count in sorted(counts.items())
    ]


def _not_run(runs: Sequence[ScenarioRun]) -> list[str]:
    """The kinds that no route could be sent, each with what it takes."""
    sent = {share.forgery for run in runs for share in run.scenario.shares}
    return [f"{kind.value} (takes {what})" for kind, what in _TAKES.items() if kind not in sent]


def _unproven(case: Case, runs: Sequence[ScenarioRun], sent: pd.DataFrame) -> str:
    """Why requests that were refused prove nothing; empty where they do."""
    if missing := describe_missing_reports(runs):
        return missing
    if any(run.interrupted for run in runs):
        return "the run was interrupted"
    for run in runs:
        if not case.acknowledged_count(run):
            return f"no valid request was accepted in {run.scenario.label}, so a refusal proves nothing"
    if not len(sent):
        return "no forged request was sent"
    return NOT_READ if case.truth is None else ""
