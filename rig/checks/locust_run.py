"""``locust.reports`` and ``locust.totals``: do the books of workers, master and history agree?

They say nothing of the target: a worker that died or was cut off, or a count that differs, makes the evidence INVALID.
EmptySource where locust did not lead the run.
"""

from __future__ import annotations

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.history import was_skipped
from rig.evidence.locust_run import LocustRun, WorkerAccount, WorkerSeen
from rig.model import Outcome

REPORTS = GateKind(
    "locust.reports",
    Kind.INSTRUMENT,
    "every worker of the locust run has given its final account, and none of its reports on the way was lost",
)
TOTALS = GateKind(
    "locust.totals",
    Kind.INSTRUMENT,
    "the workers' accounts, locust's own statistics and the history count the same requests and failures, and "
    "there are some",
)


@emits(REPORTS, TOTALS)
def check_locust_run(case: Case) -> list[Gate]:
    """Every worker's final account is there and whole, and every request is counted once by everybody."""
    locust_run = case.locust_run
    return [] if locust_run is None else [_reports_gate(locust_run), _totals_gate(case, locust_run)]


def _reports_gate(locust_run: LocustRun) -> Gate:
    gate_id, rule = REPORTS.pattern, REPORTS.rule
    accounts = {account.number: account for account in locust_run.workers}
    found = {seen.number: _find_fault(seen, accounts.get(seen.number)) for seen in locust_run.master.workers}
    faults = [f"worker {number}: {fault}" for number, fault in found.items() if fault]
    if not found:
        faults.append("no worker took part")
    uncertain = max((account.clock_error_ns for account in locust_run.workers), default=0)
    requests = sum(account.requests for account in locust_run.workers)
    cpu_s = sum(account.cpu_s for account in locust_run.workers)
    overdue = [account.overdue for account in locust_run.workers if account.overdue is not None]
    figures = {
        "client": locust_run.master.client,
        "workers": len(locust_run.master.workers),
        "accounts": len(locust_run.workers),
        "client_cpu_us_per_request": round(cpu_s / requests * 1e6, 1) if requests else None,
        "overdue_requests": sum(overdue) if overdue else None,
        "clock_error_max_ms": round(uncertain / 1e6, 3),
    }
    return Gate(gate_id, Verdict.INVALID if faults else Verdict.PASS, rule, figures, "; ".join(faults[:5]))


def _find_fault(seen: WorkerSeen, account: WorkerAccount | None) -> str:
    """What is wrong with a worker's books; empty where nothing is."""
    if seen.lost:
        return seen.lost
    if account is None:
        return "its final account is missing"
    if account.reports != seen.reports:
        return f"it sent {account.reports} reports, the master got {seen.reports}"
    return "; ".join(account.notes)


def _totals_gate(case: Case, locust_run: LocustRun) -> Gate:
    gate_id, rule = TOTALS.pattern, TOTALS.rule
    history = case.history[~was_skipped(case.history)]
    counts = {
        "history": (len(history), int((history["outcome"] != Outcome.ACKNOWLEDGED).sum())),
        "locust": (locust_run.master.requests, locust_run.master.failures),
        "workers": (
            sum(account.requests for account in locust_run.workers),
            sum(account.failures for account in locust_run.workers),
        ),
    }
    figures = {f"{who}_{what}": counts[who][n] for n, what in enumerate(("requests", "failures")) for who in counts}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{who} {requests} ({failures} failures)" for who, (requests, failures) in counts.items())
        return Gate(gate_id, Verdict.INVALID, rule, figures, f"the counts differ: {said}")
    if not len(history):
        return Gate(gate_id, Verdict.INVALID, rule, figures, "nobody sent a request: the test shows nothing")
    return Gate(gate_id, Verdict.PASS, rule, figures)
