"""``privacy.rows`` and ``privacy.logs``: personal data that was sent is nowhere."""

from __future__ import annotations

from collections.abc import Sequence

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case, describe_missing_reports
from rig.evidence.gate import Gate, Verdict
from rig.evidence.truth import CanaryHit, TruthReport
from rig.model import Outcome, RequestClass

_HITS_NAMED = 5

IN_ROWS = GateKind(
    "privacy.rows",
    Kind.PRIVACY,
    "no table of the target holds a personal value that was sent, no event row a personal key",
)
IN_LOGS = GateKind("privacy.logs", Kind.PRIVACY, "no log file holds a personal value that was sent")


@emits(IN_ROWS, IN_LOGS)
def check_privacy(case: Case) -> list[Gate]:
    """Canaries and personal keys in the target's tables and logs."""
    truth = case.truth
    if truth is None:
        reason = "the database was not read after the run"
        return [Gate(kind.pattern, Verdict.INVALID, kind.rule, reason=reason) for kind in (IN_ROWS, IN_LOGS)]
    return [_rows_gate(case, truth), _logs_gate(case, truth)]


def _rows_gate(case: Case, truth: TruthReport) -> Gate:
    figures: dict[str, object] = {"requests": _acknowledged_count(case), "columns_scanned": truth.columns_scanned}
    unsearched = "" if truth.columns_scanned else "no column was searched"
    if truth.keys_unattributed:
        unsearched = (
            f"{truth.keys_unattributed} rows hold a personal key and name no request; nobody counted such rows before "
            "the run, so whether they are older is not known"
        )
    hits = [hit for hit in truth.canary_hits if not hit.in_log]
    return _gate(case, IN_ROWS, figures, hits, unsearched)


def _logs_gate(case: Case, truth: TruthReport) -> Gate:
    figures: dict[str, object] = {"requests": _acknowledged_count(case), "files_scanned": len(truth.log_files_scanned)}
    hits = [hit for hit in truth.canary_hits if hit.in_log]
    unread = ", ".join(truth.log_files_unread[:5])
    if not hits and not unread and not truth.log_files_scanned:
        return Gate(IN_LOGS.pattern, Verdict.NOT_RUN, IN_LOGS.rule, figures, "there was no log file to search")
    return _gate(case, IN_LOGS, figures, hits, f"could not be read: {unread}" if unread else "")


def _offered_count(case: Case) -> int:
    shares = (share for scenario_run in case.scenario_runs for share in scenario_run.scenario.shares)
    return sum(share.count for share in shares if share.request_class is RequestClass.PERSONAL)


def _acknowledged_count(case: Case) -> int:
    """Requests with personal data that the target took: the others it had no reason to keep."""
    history = case.history
    return int(((history["class"] == RequestClass.PERSONAL) & (history["outcome"] == Outcome.ACKNOWLEDGED)).sum())


def _unproven(case: Case) -> str:
    """Why finding nothing proves nothing; empty when it does."""
    if missing := describe_missing_reports(case.scenario_runs):
        return missing
    return "" if _acknowledged_count(case) else "no request with personal data was acknowledged"


def _gate(
    case: Case, kind: GateKind, figures: dict[str, object], hits: Sequence[CanaryHit], unsearched: str = ""
) -> Gate:
    gate_id, rule = kind.pattern, kind.rule
    figures = {**figures, "hits": len(hits)}
    if not hits and not _offered_count(case):
        return Gate(gate_id, Verdict.NOT_RUN, rule, figures, "no request with personal data was sent")
    if not hits:
        unproven = unsearched or _unproven(case)
        return Gate(gate_id, Verdict.INVALID if unproven else Verdict.PASS, rule, figures, unproven)
    figures["first"] = [
        f"{hit.what} of {hit.request} in {hit.place}{f' at {hit.json_path}' if hit.json_path else ''}"
        for hit in hits[:_HITS_NAMED]
    ]
    return Gate(gate_id, Verdict.FAIL, rule, figures, f"{len(hits)} hits, the first in {hits[0].place}")
