"""From a failing gate to its requests: one cause is told once, and a gate of time names its slowest requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rig.checks.answers import check_answers
from rig.evidence.chaos import ChaosReport, ChaosSchedule, FaultRecord, Standing, WrongEvent
from rig.evidence.gate import Gate, Verdict
from rig.evidence.pack import Pack
from rig.evidence.truth import Discrepancy, DiscrepancyKind
from rig.model import RequestClass, Scenario, Share
from rig.profile import bundled_profile, load_profile
from rig.report.shown import GateShown, gate_lines, smallest_example
from rig.run.request_finder import RequestFinder, leave_repeats_out
from tests.checks.cases import BROKEN, MS, OK, RESET, START_NS, TIMEOUT, Ending, case, driven, plan, truth
from tests.evidence import synthetic

Show = Callable[..., GateShown]
S8 = plan("S8")


@pytest.fixture
def show(tmp_path: Path) -> Show:
    """Shows a gate over one scenario run whose requests ended so."""

    def show(
        gate: str,
        endings: Sequence[Ending] = (),
        response_ms: Sequence[float] = (),
        scenario: Scenario = S8,
        chaos: ChaosReport | None = None,
        lost: Sequence[int] = (),
    ) -> GateShown:
        evidence = case(driven(scenario, endings, response_ms=response_ms), chaos=chaos)
        pack = Pack.create(tmp_path, "run", 7, synthetic.STARTED)
        manifest = synthetic.manifest(evidence)
        profile = load_profile(bundled_profile()).model_dump(mode="json")
        pack.write_manifest(replace(manifest, profile=profile))
        failed = Gate(gate, Verdict.FAIL, "a claim", {}, "a reason")
        if not lost or chaos is None:
            return RequestFinder(pack, evidence).find_examples(failed)
        keys = RequestFinder(pack, evidence)._targets(label := evidence.scenario_runs[0].scenario.label)
        wrong = tuple(WrongEvent(seq, keys.key(seq), DiscrepancyKind.LOST) for seq in lost)
        named = tuple(Discrepancy(each.kind, label, "S11", "A", each.key, "acknowledged") for each in wrong)
        unclean = replace(truth(), discrepancies=named)
        evidence = replace(evidence, truth=unclean, chaos=replace(chaos, wrong=wrong))
        return RequestFinder(pack, evidence).find_examples(failed)

    return show


def test_a_request_that_is_lost_since_the_server_closes_after_an_error_is_told_with_the_error(show: Show) -> None:
    page = show("S8.answers", [OK, BROKEN, RESET])
    (example,) = page.examples
    assert (example.seq, example.status) == (1, 500)
    assert dict(gate_lines(page))["then"].startswith("request 2 on the same connection was lost: the server closes it")
    assert "request 2 on the same connection was lost" in smallest_example(page)


def test_the_lost_request_itself_names_the_error_as_its_cause(show: Show, tmp_path: Path) -> None:
    show("S8.answers", [OK, BROKEN, RESET])
    (folder,) = tmp_path.iterdir()
    finder = RequestFinder(Pack.open(folder), case(driven(plan("S8"), [OK, BROKEN, RESET])))
    key = finder._targets("S8-10-stripe-1").key(2)
    (lost,) = finder.find_requests(key)
    assert lost.cause.startswith("answer 500 to request 1 (key ")


def test_the_first_request_of_each_kind_of_failure_is_shown(show: Show) -> None:
    page = show("S8.answers", [OK, RESET, RESET, RESET, BROKEN, TIMEOUT])
    assert [each.seq for each in page.examples] == [1, 4, 5]
    assert not any(each.cause or each.then for each in page.examples[:1])


def test_what_a_fault_of_the_rig_excuses_is_no_example(show: Show) -> None:
    scenario = replace(plan("S11"), timeout_s=0.001)
    locked = FaultRecord(1, "table-locked", START_NS, START_NS, START_NS, START_NS + MS, START_NS + MS)
    chaos = ChaosReport(ChaosSchedule(1), (locked,), Standing(), Standing(), 2)
    endings = [BROKEN, BROKEN, *[OK] * 4, RESET, TIMEOUT]
    page = show("S11.answers", endings, scenario=scenario, chaos=chaos)
    assert [each.seq for each in page.examples] == [6, 7]
    assert [each.seq for each in show("S11.bounded", endings, scenario=scenario, chaos=chaos).examples] == [7]


@pytest.mark.parametrize(
    ("gate", "fault", "seqs"),
    [
        ("S11.graceful", "rolling-deploy", [1, 3]),
        ("S11.contained", "process-stopped", [3]),
        ("S11.delivered", "database-killed", [1, 3]),
    ],
)
def test_a_gate_of_chaos_shows_the_requests_that_it_stands_on_with_their_fault(
    show: Show, gate: str, fault: str, seqs: list[int]
) -> None:
    times = {"strike_begun_ns": START_NS - MS, "struck_ns": START_NS - MS, "heal_begun_ns": START_NS + 60_000 * MS}
    healed_ns = START_NS - MS if gate == "S11.delivered" else START_NS + 60_000 * MS
    record = FaultRecord(4, fault, START_NS, healed_ns=healed_ns, **times)
    chaos = ChaosReport(ChaosSchedule(1), (record,), Standing(), Standing(), 2)
    page = show(gate, [OK, TIMEOUT, OK, BROKEN], scenario=plan("S11"), chaos=chaos)
    assert [each.seq for each in page.examples] == seqs
    expected = "" if gate == "S11.delivered" else f"{fault} (fault 4) was in force"
    assert {each.fault for each in page.examples} == {expected}


def test_where_no_good_answer_came_again_the_first_bad_ones_after_that_fault_are_shown(show: Show) -> None:
    spans = [(1, START_NS, START_NS + MS // 2), (2, START_NS + 3 * MS, START_NS + 4 * MS)]
    records = tuple(FaultRecord(n, "database-killed", since, since, since, until, until) for n, since, until in spans)
    chaos = ChaosReport(ChaosSchedule(1), records, Standing(), Standing(), 2)
    page = show("S11.recovery", [BROKEN, OK, *[BROKEN] * 8], scenario=plan("S11"), chaos=chaos)
    assert [each.seq for each in page.examples] == [5, 6, 7]


@pytest.mark.parametrize(("gate", "seqs"), [("S11.exactly_once", [0, 1]), ("S11.durable", [0]), ("totals", [0, 1])])
def test_lost_events_are_shown_with_the_answer_that_a_crash_belied(show: Show, gate: str, seqs: list[int]) -> None:
    crash_ns = START_NS + 10 * MS
    record = FaultRecord(2, "database-killed", crash_ns, crash_ns, crash_ns, crash_ns, crash_ns, is_crash=True)
    chaos = ChaosReport(ChaosSchedule(1), (record,), Standing(), Standing(), 2)
    page = show(gate, [OK] * 4, [4, 900, 4, 4], scenario=plan("S11"), chaos=chaos, lost=(0, 1))
    assert [each.seq for each in page.examples] == seqs
    assert page.examples[0].rows == ("lost: acknowledged",)
    assert "6 ms before database-killed (fault 2) struck" in smallest_example(page)


def test_requests_that_another_gate_shows_are_not_shown_twice(show: Show) -> None:
    page = show("S8.answers", [OK, BROKEN, OK])
    totals, durable = (replace(page, gate=replace(page.gate, id=name)) for name in ("totals", "S11.durable"))
    other = show("S8.answers", [OK, OK, TIMEOUT])
    first, second, third = leave_repeats_out([totals, durable, other])
    assert (first.examples, first.named) == ((), ("the same requests as under S11.durable",))
    assert (second, third) == (durable, other)


def test_rows_that_came_late_and_rows_that_vanished_lead_to_their_requests(show: Show, tmp_path: Path) -> None:
    show("S8.answers", [OK] * 4)
    (folder,) = tmp_path.iterdir()
    evidence = case(driven(S8, [OK] * 4))
    finder = RequestFinder(Pack.open(folder), evidence)
    keys = [finder._targets(evidence.scenario_runs[0].scenario.label).key(seq) for seq in (2, 3)]
    late = Gate("S8.late", Verdict.FAIL, "a claim", {"keys": keys}, "a reason")
    assert [each.seq for each in finder.find_examples(late).examples] == [2, 3]
    gone = [
        Discrepancy(kind, evidence.scenario_runs[0].scenario.label, "S8", "A", key, "gone")
        for kind, key in zip((DiscrepancyKind.VANISHED, DiscrepancyKind.LOST), keys, strict=True)
    ]
    finder = RequestFinder(Pack.open(folder), replace(evidence, truth=replace(truth(), discrepancies=tuple(gone))))
    for gate, seq in (("lasting", 2), ("S8.rows", 3)):
        failed = Gate(gate, Verdict.FAIL, "a claim", {}, "a reason")
        assert [each.seq for each in finder.find_examples(failed).examples] == [seq]


def test_losses_after_errors_are_one_failure_with_their_error() -> None:
    (gate,) = check_answers(case(driven(plan(), [BROKEN, RESET, OK, BROKEN, RESET])))
    assert gate.verdict is Verdict.FAIL
    assert gate.reason == (
        "wrong answers: status 500 (2 times), after 2 of these the target closed the connection without saying so, and "
        "the next request on it was lost"
    )
    assert gate.figures["closed_after_5xx"] == 2
    assert "1 connection lost" in check_answers(case(driven(plan(), [RESET, BROKEN])))[0].reason


def test_a_connection_that_is_lost_long_after_an_error_has_another_cause() -> None:
    evidence = case(driven(plan(), [BROKEN, RESET]))
    later = evidence.history.assign(sent_ns=evidence.history["sent_ns"] + 2_000_000_000 * (evidence.history["seq"] > 0))
    (gate,) = check_answers(replace(evidence, history=later))
    assert "1 connection lost" in gate.reason


@pytest.mark.parametrize("gate", ["S8.time", "S8.p95"])
def test_a_gate_of_time_names_its_slowest_requests_those_without_an_answer_first(show: Show, gate: str) -> None:
    page = show(gate, [OK] * 4 + [TIMEOUT], [5, 900, 7, 300])
    assert [each.seq for each in page.examples] == [4, 1, 3]
    assert "900.0 ms" in dict(gate_lines(replace(page, examples=page.examples[1:2])))["answer"]
    assert page.rest == "history/ has all 10"


def test_of_a_key_of_two_tenants_the_request_of_the_one_whose_row_is_lost_is_shown(show: Show, tmp_path: Path) -> None:
    replays = (Share(RequestClass.REPLAY, 4, one_key=True),)
    shared = replace(plan("S5", 4, tenants=("A", "B")), shares=replays, shared_key=True)
    show("S8.answers", [OK] * 4, scenario=shared)
    (folder,) = tmp_path.iterdir()
    sent = driven(shared, [OK] * 4)
    evidence = case(replace(sent, rows=sent.rows.assign(tenant=["A", "B", "A", "B"])))
    key = RequestFinder(Pack.open(folder), evidence)._targets(shared.label).key(0)
    lost = Discrepancy(DiscrepancyKind.LOST, shared.label, "S5", "B", key, "acknowledged, in neither table")
    finder = RequestFinder(Pack.open(folder), replace(evidence, truth=replace(truth(), discrepancies=(lost,))))
    (example,) = finder.find_examples(Gate("S5.rows", Verdict.FAIL, "a claim", {}, "a reason")).examples
    assert (example.tenant, example.rows) == ("B", ("lost: acknowledged, in neither table",))
    others = [each for each in finder.find_requests(key) if each.tenant == "A"]
    assert [each.rows for each in others] == [(), ()]
