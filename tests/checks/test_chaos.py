"""S11: one fault among a hundred events a second, and what each gate says to what came of it.

An event is due every 10 ms for 10 s. The fault strikes at 4 s and is healed at 5 s; the timeout of a request is 2 s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rig.checks.aftermath import aftermaths, rank_faults
from rig.checks.answers import check_answers
from rig.checks.chaos import check_chaos
from rig.checks.power import detection_power
from rig.evidence.case import Case
from rig.evidence.chaos import ChaosReport, ChaosSchedule, FaultRecord, RelayCost, Standing, WrongEvent
from rig.evidence.gate import Gate, Verdict
from rig.evidence.samples import Samples
from rig.evidence.truth import DiscrepancyKind
from rig.model import Redelivery
from tests.checks.cases import (
    BROKEN,
    MS,
    OK,
    REFUSED,
    START_NS,
    TIMEOUT,
    UNCONNECTED,
    Driven,
    Ending,
    beside,
    case,
    driven,
    group,
    plan,
    truth,
)

PASS, FAIL, INVALID, NOT_RUN = Verdict.PASS, Verdict.FAIL, Verdict.INVALID, Verdict.NOT_RUN
COUNT = 1000
S11 = replace(plan("S11", COUNT), redelivery=Redelivery((0.5,) * 10), timeout_s=2.0)
STANDING = Standing(connections=8)
RELAY = RelayCost(added_p50_ms=0.03, added_p99_ms=0.4, cpu_us=20.0, exchanges=1000)


def at(second: float) -> int:
    return START_NS + round(second * 1000) * MS


def struck(fault: str = "database-killed", **changes: Any) -> FaultRecord:
    times = {"strike_begun_ns": at(4), "struck_ns": at(4.1), "heal_begun_ns": at(4.9), "healed_ns": at(5)}
    return FaultRecord(1, fault, at(4), **{"is_crash": True, "processes": (7,), **times, **changes})


def events(
    ending: Callable[[float], Ending] = lambda second: OK,
    again: Callable[[float], Ending] = lambda second: OK,
    wait_ms: float = 5,
) -> Driven:
    """Each event is attempted once, and again a second later where the first attempt failed.

    ``ending`` and ``again`` say how attempts end that are due at a second.
    """
    first = driven(S11, [ending(seq / 100) for seq in range(COUNT)])
    rows = first.rows
    rows["intended_ns"] = rows["sent_ns"] = START_NS + np.arange(COUNT) * 10 * MS
    rows["done_ns"] = rows["sent_ns"] + int(wait_ms * MS)
    late = rows["error_kind"] == "timeout"
    rows.loc[late, "done_ns"] = rows.loc[late, "sent_ns"] + 2000 * MS
    failed = rows[rows["outcome"] != "acknowledged"].copy()
    failed["attempt"] = 2
    failed[["intended_ns", "sent_ns", "done_ns"]] += 1000 * MS
    for column, value in (("outcome", "outcome"), ("status", "status"), ("error_kind", "error_kind")):
        failed[column] = [getattr(again(seq / 100 + 1), value) for seq in failed["seq"]]
    (worker,) = first.report.workers
    assert worker is not None
    repeating = replace(worker, offered=COUNT + len(failed), sent=COUNT + len(failed), repeats=len(failed))
    report = replace(first.report, workers=(repeating,))
    return Driven(report, pd.concat([rows, failed], ignore_index=True))


def gates(
    load: Driven,
    *records: FaultRecord,
    found: Mapping[DiscrepancyKind, int] | None = None,
    wrong: Sequence[WrongEvent] = (),
    after: Standing = STANDING,
    processes: int = 2,
    faults: Mapping[str, Any] | None = None,
    relay: RelayCost | None = RELAY,
    samples: Samples | None = None,
) -> dict[str, Gate]:
    chaos = ChaosReport(ChaosSchedule(1), records or (struck(),), STANDING, after, processes, relay, tuple(wrong))
    rows = group(S11, canonical=COUNT, discrepancies=dict(found or {}))
    whole = case(load, truth=truth([rows]), chaos=chaos, profile={"faults": faults or {}}, samples=samples or Samples())
    return {gate.id.removeprefix("S11."): gate for gate in check_chaos(whole)}


def verdicts(found: Mapping[str, Gate]) -> dict[Verdict, set[str]]:
    return {verdict: {name for name, gate in found.items() if gate.verdict is verdict} for verdict in Verdict}


def test_events_that_are_stored_in_the_end_pass_whatever_their_first_attempts_met() -> None:
    found = gates(events(lambda second: BROKEN if 4 <= second < 5.2 else OK))
    assert verdicts(found)[PASS] == {
        "faults", "relay", "exactly_once", "durable", "delivered", "recovery", "bounded", "clean"
    }  # fmt: skip
    assert verdicts(found)[NOT_RUN] == {"graceful", "contained"}
    assert found["delivered"].figures["redeliveries"] == 120
    assert found["delivered"].figures["delivery_max_s"] == 1.005


def test_a_run_without_the_scenario_has_none_of_its_gates_and_one_without_its_record_proves_nothing() -> None:
    assert check_chaos(case(driven(plan("S2")))) == []
    assert {gate.verdict for gate in check_chaos(case(events()))} == {INVALID}
    (left_out,) = check_chaos(case(driven(plan("S2")), left_out={"S11": "no"}))
    assert (left_out.id, left_out.verdict) == ("S11.faults", NOT_RUN)


@pytest.mark.parametrize("kind", [DiscrepancyKind.LOST, DiscrepancyKind.DUPLICATED, DiscrepancyKind.WRONG_TENANT])
def test_wrong_rows_are_not_exactly_once(kind: DiscrepancyKind) -> None:
    found = gates(events(), found={kind: 2})
    assert verdicts(found)[FAIL] == {"exactly_once"}
    assert "2 " in found["exactly_once"].reason


def test_what_was_acknowledged_before_a_crash_and_is_lost_was_not_durable() -> None:
    lost = {DiscrepancyKind.LOST: 1}
    before, after = (WrongEvent(seq, "key", DiscrepancyKind.LOST) for seq in (399, 700))
    assert verdicts(gates(events(), found=lost, wrong=[before]))[FAIL] == {"exactly_once", "durable"}
    assert verdicts(gates(events(), found=lost, wrong=[after]))[FAIL] == {"exactly_once"}
    cut = gates(events(), struck("sender-cut", is_crash=False), found=lost, wrong=[before])
    assert cut["durable"].verdict is NOT_RUN


def test_an_event_that_is_never_acknowledged_fails_where_it_was_tried_after_the_healing() -> None:
    stays = gates(events(lambda s: BROKEN if s >= 4 else OK, lambda s: BROKEN))
    assert "599 events were tried after the last healing" in stays["delivered"].reason
    given_up = gates(events(lambda s: UNCONNECTED if s == 4 else OK, lambda s: UNCONNECTED), struck(healed_ns=at(6)))
    assert (given_up["delivered"].verdict, "given up" in given_up["delivered"].reason) == (INVALID, True)
    refused = gates(events(lambda s: REFUSED if s == 4 else OK, lambda s: REFUSED))
    assert "refused for good, the first with status 401" in refused["delivered"].reason
    # No sender tries again after a 2xx, whichever the profile names.
    other = replace(REFUSED, status=202)
    swallowed = gates(events(lambda s: other if s == 4 else OK, lambda s: other), struck(healed_ns=at(6)))
    assert swallowed["delivered"].verdict is FAIL
    assert "refused for good, the first with status 202" in swallowed["delivered"].reason


def test_a_service_that_never_answers_again_has_not_recovered() -> None:
    found = gates(events(lambda s: BROKEN if s >= 4 else OK, lambda s: BROKEN))
    assert "no good answer came after database-killed" in found["recovery"].reason
    assert found["recovery"].figures["first_good_max_s"] == "never"


def test_a_good_answer_that_the_fault_had_only_held_back_is_no_recovery() -> None:
    load = events(lambda s: OK if s < 4 or s == 4.5 else BROKEN, lambda s: BROKEN)
    load.rows.loc[load.rows["seq"] == 450, "done_ns"] = at(5.001)
    found = gates(load)
    assert "no good answer came after database-killed" in found["recovery"].reason


def test_a_healing_that_comes_after_the_last_request_shows_nothing_about_recovery() -> None:
    found = gates(events(lambda s: BROKEN if s >= 4 else OK, lambda s: BROKEN), struck(healed_ns=at(12)))
    assert (found["recovery"].verdict, found["recovery"].reason) == (INVALID, "nothing was sent after database-killed")


def test_a_recovery_is_a_figure_and_fails_where_the_profile_sets_a_limit() -> None:
    load = events(lambda s: BROKEN if 4 <= s < 6.5 else OK)
    figure = gates(load)["recovery"]
    assert figure.verdict is PASS
    assert figure.figures["back_at_rate_max_s"] == pytest.approx(1.5, abs=0.06)
    late = gates(load, faults={"recovery_s": 1.0})["recovery"]
    assert (late.verdict, "not back at its rate within 1 s but after 1." in late.reason) == (FAIL, True)
    assert gates(load, faults={"recovery_s": 2.0})["recovery"].verdict is PASS


SOON_AGAIN = {"strike_begun_ns": at(6.5), "struck_ns": at(6.5), "heal_begun_ns": at(6.6), "healed_ns": at(6.6)}


@pytest.mark.parametrize(
    ("limit_s", "verdict", "reason"),
    [
        (None, PASS, ""),
        (1.0, FAIL, "not back at its rate within 1 s"),
        # The next fault strikes 1.5 s after the healing: how long it would have taken nobody knows.
        (5.0, INVALID, "but for 1.2 s only was nothing else broken, and it may take 5 s"),
    ],
)
def test_a_recovery_that_the_next_fault_cut_off_is_late_only_where_its_time_was_over(
    limit_s: float | None, verdict: Verdict, reason: str
) -> None:
    load = events(lambda s: BROKEN if 4 <= s < 6.7 and round(s * 100) % 4 else OK)
    again = replace(struck("sender-cut", is_crash=False, **SOON_AGAIN), number=2)
    found = gates(load, struck(), again, faults={} if limit_s is None else {"recovery_s": limit_s})["recovery"]
    assert found.verdict is verdict
    assert reason in found.reason


def test_a_rate_that_nobody_saw_before_the_first_fault_cannot_come_back_late() -> None:
    load = events(lambda s: BROKEN if s < 4 else OK, again=lambda s: BROKEN if s < 5 else OK)
    found = gates(load, faults={"recovery_s": 1.0})["recovery"]
    assert (found.verdict, "its rate is not known" in found.reason) == (INVALID, True)


def test_silence_until_the_next_fault_blames_nobody_where_it_was_shorter_than_a_request_may_take() -> None:
    load = events(lambda s: BROKEN if 4 <= s < 6.7 else OK, again=lambda s: BROKEN if s < 7.7 else OK)
    again = replace(struck("sender-cut", is_crash=False, **SOON_AGAIN), number=2)
    found = gates(load, struck(), again)["recovery"]
    assert (found.verdict, "for 1.5 s only" in found.reason, "may take 2 s" in found.reason) == (INVALID, True, True)


def test_requests_that_wait_in_vain_are_excused_while_something_is_broken_and_not_later() -> None:
    assert gates(events(lambda s: TIMEOUT if 4 <= s < 5 else OK))["bounded"].verdict is PASS
    late = gates(events(lambda s: TIMEOUT if 4 <= s < 7.5 else OK))["bounded"]
    assert (late.verdict, late.figures["timeouts"]) == (FAIL, 49)  # of 7.01 s and later


@pytest.mark.parametrize(
    ("ending", "stretch", "verdict"),
    [
        (TIMEOUT, (0, 60, 0.1), FAIL),
        (TIMEOUT, (0, 60, 0.4), INVALID),
        (TIMEOUT, (20, 60, 0.9), FAIL),  # they came later
        (BROKEN, (0, 60, 0.9), FAIL),  # an error is no lack of time
    ],
)
def test_others_who_hold_the_machine_explain_timeouts_and_nothing_else(
    ending: Ending, stretch: tuple[float, float, float], verdict: Verdict
) -> None:
    load, samples = events(lambda s: ending if 4 <= s < 7.5 else OK, again=lambda s: ending), beside(stretch)
    found = gates(load, samples=samples)
    assert (found["bounded"].verdict, found["delivered"].verdict) == (PASS if ending is BROKEN else verdict, verdict)
    deploy = gates(load, struck("rolling-deploy", is_crash=False), samples=samples)["graceful"]
    assert deploy.verdict is verdict
    report = ChaosReport(ChaosSchedule(1), (struck(),), STANDING, STANDING, 2)
    (answers,) = check_answers(case(load, chaos=report, samples=samples))
    assert answers.verdict is verdict
    if verdict is INVALID:
        assert "the machine was busy: other processes held 40% of the machine (compiler 0.8 cores)" in deploy.reason


@pytest.mark.parametrize(("share", "verdict"), [(0.1, FAIL), (0.4, INVALID)])
def test_others_who_hold_the_machine_explain_a_late_recovery(share: float, verdict: Verdict) -> None:
    load = events(lambda s: BROKEN if 4 <= s < 6.5 else OK)
    late = gates(load, faults={"recovery_s": 1.0}, samples=beside((0, 60, share)))["recovery"]
    assert late.verdict is verdict


def test_answers_are_judged_where_nothing_was_broken() -> None:
    def answers(until_s: float) -> Gate:
        load = events(lambda s: BROKEN if 4 <= s < until_s else OK)
        report = ChaosReport(ChaosSchedule(1), (struck(),), STANDING, STANDING, 2)
        (gate,) = check_answers(case(load, chaos=report))
        return gate

    assert (answers(6.9).verdict, answers(8).verdict) == (PASS, FAIL)


@pytest.mark.parametrize(
    ("fault", "ending", "verdict"),
    [
        ("rolling-deploy", OK, PASS),
        ("rolling-deploy", BROKEN, FAIL),
        ("rolling-deploy", UNCONNECTED, FAIL),
        ("deploy", UNCONNECTED, PASS),  # nobody is there to connect to
    ],
)
def test_a_deploy_fails_no_request_that_was_taken(fault: str, ending: Ending, verdict: Verdict) -> None:
    load = events(lambda s: ending if 4.2 <= s < 4.4 else OK)
    assert gates(load, struck(fault, is_crash=False))["graceful"].verdict is verdict
    assert gates(load, struck(fault), processes=1)["graceful"].verdict is NOT_RUN


def test_requests_under_way_at_a_deploy_are_answered() -> None:
    load = events(lambda s: BROKEN if 3.95 <= s < 4 else OK, wait_ms=100)
    assert gates(load, struck("deploy"))["graceful"].figures["failed"] == 5


def test_a_deploy_after_which_the_rig_had_to_launch_the_service_shows_nothing_about_the_deploy() -> None:
    load = events(lambda s: BROKEN if 4 <= s < 5 else OK)
    relaunched = struck("rolling-deploy", is_crash=False, is_relaunched=True)
    alone = gates(load, relaunched)["graceful"]
    assert (alone.verdict, "is that how it is deployed?" in alone.reason) == (INVALID, True)
    times = {"strike_begun_ns": at(7), "struck_ns": at(7), "heal_begun_ns": at(8), "healed_ns": at(8)}
    again = struck("rolling-deploy", is_crash=False, **times)
    assert gates(load, relaunched, again)["graceful"].verdict is INVALID


@pytest.mark.parametrize("fault", ["process-killed", "process-stopped"])
def test_the_fault_of_one_process_leaves_the_others(fault: str) -> None:
    half = events(lambda s: TIMEOUT if 4.1 <= s < 4.9 and round(s * 100) % 2 else OK)
    none = events(lambda s: TIMEOUT if 4.1 <= s < 4.9 else OK)
    errors = events(lambda s: BROKEN if 4.1 <= s < 4.2 else OK)
    assert gates(half, struck(fault))["contained"].verdict is PASS
    assert gates(half, struck(fault), processes=1)["contained"].verdict is NOT_RUN
    assert gates(half, struck(fault, gone=(8,)))["contained"].verdict is FAIL
    assert "nobody answered" in gates(none, struck(fault))["contained"].reason
    assert "5xx" in gates(errors, struck(fault))["contained"].reason


def test_where_nobody_answers_during_short_faults_of_one_process_that_is_seen_over_all_of_them() -> None:
    """Of each fault there are too few attempts to tell, of all together enough."""
    times = ((2.0, 2.07), (4.0, 4.07), (6.0, 6.07))
    faults = [
        struck("process-stopped", strike_begun_ns=at(a), struck_ns=at(a), heal_begun_ns=at(b), healed_ns=at(b))
        for a, b in times
    ]
    silent = events(lambda s: TIMEOUT if any(a <= s < b for a, b in times) else OK)
    found = gates(silent, *faults)["contained"]
    assert (found.verdict, found.figures["answered"]) == (FAIL, 0)
    one_good = events(lambda s: TIMEOUT if any(a + 0.01 < s < b for a, b in times) else OK)
    assert gates(one_good, *faults)["contained"].verdict is PASS


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (Standing(connections=40), PASS),  # a pool may grow
        (Standing(connections=8, idle_in_transaction=1), FAIL),
        (Standing(connections=8, waiting=1), FAIL),
        (Standing(unread="no answer"), INVALID),
    ],
)
def test_nothing_lies_open_afterwards(after: Standing, verdict: Verdict) -> None:
    assert gates(events(), after=after)["clean"].verdict is verdict


def test_a_fault_that_could_not_strike_is_named() -> None:
    found = gates(events(), replace(struck(), skipped="it could not strike: no"))["faults"]
    assert (found.verdict, "no" in found.reason) == (INVALID, True)
    for name in ("recovery", "durable", "graceful", "contained"):
        assert gates(events(), replace(struck(), skipped="no"))[name].verdict is NOT_RUN


def test_the_aftermath_of_each_fault_ends_where_the_next_begins() -> None:
    later = struck(strike_begun_ns=at(7), struck_ns=at(7), heal_begun_ns=at(7.5), healed_ns=at(7.5))
    load = events(lambda s: BROKEN if 4 <= s < 4.5 or 7 <= s < 8 else OK)
    report = ChaosReport(ChaosSchedule(1), (struck(), replace(later, number=2)), STANDING, STANDING, 2)
    whole: Case = case(load, chaos=report)
    first, second = aftermaths(whole)
    assert (first.failed, second.failed) == (50, 100)
    assert (first.first_failure_s, second.back_s) == (pytest.approx(0.005), pytest.approx(0.5, abs=0.06))


def test_the_rate_is_back_no_sooner_than_the_first_good_answer_though_many_come_at_once_with_it() -> None:
    load = events()
    held = (load.rows["sent_ns"] >= at(5)) & (load.rows["done_ns"] < at(5.6))
    load.rows.loc[held, "done_ns"] = at(5.6)
    report = ChaosReport(ChaosSchedule(1), (struck(healed_ns=at(5)),), STANDING, STANDING, 2)
    (found,) = aftermaths(case(load, chaos=report))
    assert (found.first_good_s, found.back_s) == (pytest.approx(0.6), pytest.approx(0.6))


def test_a_chaos_says_what_it_could_have_seen() -> None:
    sent = events(lambda second: TIMEOUT if 4 <= second < 5 else OK)
    found = gates(sent)
    evidence = case(sent, truth=truth([group(S11, canonical=COUNT)]))
    powers = {power.name: power.trials for power in detection_power(evidence, [*found.values()])}
    assert powers["loss"] == COUNT
    assert powers["repeats"] == 0
    again = sent.rows[sent.rows["outcome"] == "acknowledged"].head(30).assign(attempt=2)
    redelivered = case(replace(sent, rows=pd.concat([sent.rows, again])), truth=truth([group(S11, canonical=COUNT)]))
    judged = [*found.values(), Gate("duplicates", PASS, "")]
    assert {power.name: power.trials for power in detection_power(redelivered, judged)}["repeats"] == 30


def test_the_fault_with_wrong_events_is_the_first_suspect_then_the_one_with_most_failures() -> None:
    quiet, failing, losing = (
        replace(struck(), number=number, **{name: at(second) for name in ("strike_begun_ns", "struck_ns", "healed_ns")})
        for number, second in ((1, 2), (2, 4), (3, 7))
    )
    load = events(lambda second: BROKEN if 4 <= second < 5 else OK)
    wrong = (WrongEvent(seq=720, key="k", kind=DiscrepancyKind.LOST),)
    chaos = ChaosReport(ChaosSchedule(1), (quiet, failing, losing), STANDING, STANDING, 2, RELAY, wrong)
    assert [record.number for record in rank_faults(aftermaths(case(load, chaos=chaos)))] == [3, 2, 1]
    late = events(lambda second: BROKEN if 4 <= second < 5 or 9.5 <= second < 9.6 else OK)
    unexcused = replace(chaos, wrong=())
    assert [record.number for record in rank_faults(aftermaths(case(late, chaos=unexcused)))] == [3, 2, 1]


@pytest.mark.parametrize(
    ("relay", "verdict"),
    [
        (RELAY, PASS),
        (replace(RELAY, added_p50_ms=1.0), PASS),
        (replace(RELAY, added_p50_ms=1.1), INVALID),
        (None, INVALID),
    ],
)
def test_a_relay_that_delays_answers_proves_nothing(relay: RelayCost | None, verdict: Verdict) -> None:
    found = gates(events(), relay=relay)["relay"]
    assert found.verdict is verdict
    assert verdict is PASS or "relay" in found.reason
