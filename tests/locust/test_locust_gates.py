"""``locust.reports`` and ``locust.totals``: literal books in, verdicts out."""

from __future__ import annotations

from dataclasses import replace

from rig.checks.locust_run import check_locust_run
from rig.evidence.gate import Verdict
from rig.evidence.locust_run import LocustRun, MasterAccount, WorkerAccount, WorkerSeen
from tests.checks.cases import BROKEN, case, driven, plan

ACCOUNT = WorkerAccount(0, "node", "host", 1, reports=3, requests=10, failures=1, cpu_s=0.001, wall_s=1.0)
SEEN = WorkerSeen(0, "node", reports=3, requests=10, failures=1)
MASTER = MasterAccount("native", (SEEN,), 10, 1, "stripe", "A", 10.0)


def verdicts(locust_run: LocustRun) -> tuple[Verdict, Verdict]:
    """Of reports and totals, for ten requests of which one failed."""
    evidence = replace(case(driven(plan(), [BROKEN])), locust_run=locust_run)
    reports, totals = check_locust_run(evidence)
    return reports.verdict, totals.verdict


def test_books_that_agree_pass() -> None:
    assert verdicts(LocustRun(MASTER, (ACCOUNT,))) == (Verdict.PASS, Verdict.PASS)


def test_without_locust_there_is_nothing_to_say() -> None:
    assert check_locust_run(case(driven(plan()))) == []


def test_a_worker_without_an_account_is_invalid() -> None:
    assert verdicts(LocustRun(MASTER, ()))[0] is Verdict.INVALID


def test_a_lost_worker_is_invalid_whatever_it_said_before() -> None:
    lost = replace(MASTER, workers=(replace(SEEN, lost="died"),))
    assert verdicts(LocustRun(lost, (ACCOUNT,)))[0] is Verdict.INVALID


def test_a_lost_report_is_invalid() -> None:
    fewer = replace(MASTER, workers=(replace(SEEN, reports=2),))
    assert verdicts(LocustRun(fewer, (ACCOUNT,)))[0] is Verdict.INVALID


def test_a_fault_of_the_worker_itself_is_invalid() -> None:
    assert verdicts(LocustRun(MASTER, (replace(ACCOUNT, notes=("OSError: disk full",)),)))[0] is Verdict.INVALID


def test_counts_that_differ_are_invalid() -> None:
    assert verdicts(LocustRun(replace(MASTER, requests=9), (ACCOUNT,)))[1] is Verdict.INVALID
    assert verdicts(LocustRun(MASTER, (replace(ACCOUNT, failures=0),)))[1] is Verdict.INVALID


def test_no_worker_at_all_is_invalid() -> None:
    assert verdicts(LocustRun(replace(MASTER, workers=()), ()))[0] is Verdict.INVALID


def test_a_locust_run_that_sent_nothing_shows_nothing() -> None:
    nobody = replace(SEEN, requests=0, failures=0), replace(ACCOUNT, requests=0, failures=0)
    idle = LocustRun(replace(MASTER, workers=nobody[:1], requests=0, failures=0), nobody[1:])
    empty = case(driven(plan(), []))
    reports, totals = check_locust_run(replace(empty, history=empty.history.iloc[:0], locust_run=idle))
    assert (reports.verdict, totals.verdict) == (Verdict.PASS, Verdict.INVALID)
    assert "nobody sent a request" in totals.reason
