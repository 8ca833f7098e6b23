"""``privacy.…``: no personal data that was sent is left in tables or logs, or said in answers or metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import NOT_READ, Case, describe_missing_reports
from rig.evidence.echoes import Echoes
from rig.evidence.gate import Gate
from rig.evidence.history import WHOLE_ANSWERS
from rig.evidence.truth import CanaryHit, TruthReport
from rig.limits import PROBE_BYTES_MOST
from rig.model import Outcome, RequestClass
from rig.text import counted

_HITS_NAMED = 5

IN_ROWS = GateKind(
    "privacy.rows",
    Kind.PRIVACY,
    "no table of the target holds a personal value that was sent, no event row a personal key",
)
IN_LOGS = GateKind("privacy.logs", Kind.PRIVACY, "no log file holds a personal value that was sent")

IN_ANSWERS = GateKind(
    "privacy.answers", Kind.PRIVACY, "no answer of a scenario with personal data holds a value that was sent"
)
IN_METRICS = GateKind("privacy.metrics", Kind.PRIVACY, "the metrics hold no personal value that was sent")


@emits(IN_ROWS, IN_LOGS, IN_ANSWERS, IN_METRICS)
def check_privacy(case: Case) -> list[Gate]:
    """Look for canaries and personal keys in the target's tables, logs, answers and metrics."""
    truth, said = case.truth, [] if case.echoes is None else _said_gates(case, case.echoes)
    if truth is None:
        return [*(kind.decide({}, unproven=NOT_READ) for kind in (IN_ROWS, IN_LOGS)), *said]
    return [_rows_gate(case, truth), _logs_gate(case, truth), *said]


def _said_gates(case: Case, echoes: Echoes) -> list[Gate]:
    read = {
        "of_load": echoes.of_load,
        "unread": max(0, _answers_of_load(case) - echoes.of_load),
        "answers": echoes.answers,
        "right": echoes.right,
        "requests": sum(each.count for each in echoes.scenarios),
    }
    deaf = "" if echoes.right else "no request with personal data was answered as its class asks"
    answers = _said_gate(IN_ANSWERS, read, echoes.in_answers, deaf or describe_missing_reports(case.scenario_runs))
    if echoes.metrics_bytes is None:
        return [answers, IN_METRICS.not_run("the profile names no metrics (probes.metrics)")]
    silent = "" if echoes.metrics_bytes else "the metrics were not answered"
    if echoes.metrics_bytes >= PROBE_BYTES_MOST:
        silent = f"the metrics are longer than {PROBE_BYTES_MOST >> 20} MiB, and only their beginning was searched"
    searched = {"metrics_bytes": echoes.metrics_bytes, "times": echoes.metrics}
    return [answers, _said_gate(IN_METRICS, searched, echoes.in_metrics, silent or deaf)]


def _answers_of_load(case: Case) -> int:
    """Whole answers of the scenarios with personal data."""
    labels = [run.scenario.label for run in case.scenario_runs if run.scenario.sends_personal_data]
    history = case.history
    is_whole = (history["status"] > 0) & history["error_kind"].isin([kind.name.lower() for kind in WHOLE_ANSWERS])
    return int((is_whole & history["scenario_run"].isin(labels)).sum())


def _said_gate(kind: GateKind, searched: Mapping[str, object], hits: Sequence[CanaryHit], unproven: str) -> Gate:
    figures = {**searched, "hits": len(hits), "first": [f"{hit.what} of {hit.request}" for hit in hits[:_HITS_NAMED]]}
    wrong = (
        f"{counted(len(hits), 'hit')}, the first in {hits[0].place}: {hits[0].what} of {hits[0].request}"
        if hits
        else ""
    )
    return kind.decide(figures, wrong=wrong, unproven=unproven)


def _rows_gate(case: Case, truth: TruthReport) -> Gate:
    unsearched = "" if truth.columns_scanned else "no column was searched"
    if truth.keys_unattributed:
        rows_hold = counted(truth.keys_unattributed, "row holds", "rows hold")
        unsearched = f"{rows_hold} a personal key of no request; maybe from before the run, when nobody counted them"
    hits = [hit for hit in truth.canary_hits if not hit.in_log]
    searched: dict[str, object] = {"columns_scanned": truth.columns_scanned}
    own = case.profile.get("personal_data", {})
    if own.get("policy") == "keep":
        searched["allowed_by_the_profile"] = list(own.get("columns", ()))
    elif own.get("policy") == "scrub":
        searched["allowed_by_the_profile"] = "personal keys, without their values"
    return _gate(case, IN_ROWS, searched, hits, unsearched)


def _logs_gate(case: Case, truth: TruthReport) -> Gate:
    files: dict[str, object] = {"files_scanned": len(truth.log_files_scanned)}
    hits = [hit for hit in truth.canary_hits if hit.in_log]
    unread = ", ".join(truth.log_files_unread[:5])
    if not hits and not unread and not truth.log_files_scanned:
        return IN_LOGS.not_run("there was no log file to search", {"requests": _acknowledged_count(case), **files})
    return _gate(case, IN_LOGS, files, hits, f"could not be searched as a whole: {unread}" if unread else "")


def _gate(case: Case, kind: GateKind, searched: dict[str, object], hits: Sequence[CanaryHit], unsearched: str) -> Gate:
    figures: dict[str, object] = {"requests": _acknowledged_count(case), **searched, "hits": len(hits)}
    if hits:
        places = [f"{hit.place}{f' at {hit.json_path}' if hit.json_path else ''}" for hit in hits[:_HITS_NAMED]]
        figures["first"] = [f"{hit.what} of {hit.request} in {place}" for hit, place in zip(hits, places, strict=False)]
        return kind.decide(figures, wrong=f"{counted(len(hits), 'hit')}, the first in {hits[0].place}")
    if not _offered_count(case):
        return kind.not_run("no request with personal data was sent", figures)
    return kind.decide(figures, unproven=unsearched or _unproven(case))


def _unproven(case: Case) -> str:
    """Why finding nothing proves nothing; empty when it does."""
    if missing := describe_missing_reports(case.scenario_runs):
        return missing
    return "" if _acknowledged_count(case) else "no request with personal data was acknowledged"


def _offered_count(case: Case) -> int:
    shares = (share for run in case.scenario_runs for share in run.scenario.shares)
    return sum(share.count for share in shares if share.request_class is RequestClass.PERSONAL)


def _acknowledged_count(case: Case) -> int:
    """Requests with personal data that the target accepted. It had no reason to keep anything of the others."""
    history = case.history
    return int(((history["class"] == RequestClass.PERSONAL) & (history["outcome"] == Outcome.ACKNOWLEDGED)).sum())
