"""``privacy.rows`` and ``privacy.logs``: personal data that was sent is nowhere."""

from __future__ import annotations

from collections.abc import Sequence

from rig.checks.case import Case
from rig.model import CanaryHit, Gate, RequestClass, Verdict

_HITS_NAMED = 5


def check_privacy(case: Case) -> list[Gate]:
    """Canaries and personal keys in the target's tables and logs."""
    rows_rule = "no table of the target holds a personal key or value that was sent"
    logs_rule = "no log file holds a personal value that was sent"
    truth = case.truth
    if truth is None:
        reason = "the database was not read after the run"
        return [
            Gate("privacy.rows", Verdict.INVALID, rows_rule, reason=reason),
            Gate("privacy.logs", Verdict.INVALID, logs_rule, reason=reason),
        ]
    sent = _personal_requests(case)
    if not sent:
        reason = "no request with personal data was sent"
        return [
            Gate("privacy.rows", Verdict.NOT_RUN, rows_rule, reason=reason),
            Gate("privacy.logs", Verdict.NOT_RUN, logs_rule, reason=reason),
        ]
    rows = _gate(
        "privacy.rows",
        rows_rule,
        {"requests": sent, "columns_scanned": truth.columns_scanned},
        [hit for hit in truth.canary_hits if not hit.in_log],
    )
    if not truth.log_files_scanned:
        return [rows, Gate("privacy.logs", Verdict.NOT_RUN, logs_rule, reason="the profile names no log files")]
    logs = _gate(
        "privacy.logs",
        logs_rule,
        {"requests": sent, "files_scanned": len(truth.log_files_scanned)},
        [hit for hit in truth.canary_hits if hit.in_log],
    )
    return [rows, logs]


def _personal_requests(case: Case) -> int:
    shares = (share for drive in case.drives for share in drive.scenario.shares)
    return sum(share.count for share in shares if share.request_class is RequestClass.PERSONAL)


def _gate(gate_id: str, rule: str, figures: dict[str, object], hits: Sequence[CanaryHit]) -> Gate:
    figures = {**figures, "hits": len(hits)}
    if not hits:
        return Gate(gate_id, Verdict.PASS, rule, figures)
    figures["first"] = [
        f"{hit.what} of {hit.request} in {hit.place}{f' at {hit.json_path}' if hit.json_path else ''}"
        for hit in hits[:_HITS_NAMED]
    ]
    return Gate(gate_id, Verdict.FAIL, rule, figures, f"{len(hits)} hits, the first in {hits[0].place}")
