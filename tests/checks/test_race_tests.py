"""The gates of the race tests over literal figures: what turns each of them red, and what takes the claim away."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from rig.checks.judge import judge
from rig.checks.race_tests.catalog import PROTECTIONS, RACE_TESTS, gates_of, require_protections
from rig.errors import UsageError
from rig.evidence.case import Case
from rig.evidence.gate import Verdict
from rig.evidence.storm import StormReport, missing_section
from rig.selftest.weaknesses import GATES, WEAKNESSES

FIGURES: dict[str, dict[str, Any]] = {
    "migration-race": {
        "replicas": 8,
        "racing": 8,
        "exit_codes": {"0": 8},
        "second_exit_codes": {"0": 8},
        "said": [],
        "commands_expected": 7,
        "commands": 7,
        "rows_expected": 508,
        "rows": 508,
        "differences": [],
        "second_changes": [],
        "elapsed_s": 2.7,
    },
    "scheduler-claim": {
        "replicas": 8,
        "jobs": 60,
        "effects": 61,
        "jobs_without_effect": 0,
        "jobs_repeated": 1,
        "repeats": 1,
        "repeated": {"job 2": 2},
        "unfinished": 0,
        "killed": True,
        "exit_codes": {"0": 7},
        "elapsed_s": 4.0,
    },
    "rate-limit": {
        "replicas": 4,
        "limit": 20,
        "window_s": 1.0,
        "promised": "fleet",
        "windows": 2,
        "granted": 40,
        "cap": 20.0,
        "scope_factor": 1.0,
        "asked": 1167,
        "limited": 1087,
        "replicas_that_limited": 4,
        "other_statuses": {},
    },
    "matview-refresh": {
        "askers": 8,
        "tenants": ["north", "south"],
        "refreshes": 2,
        "refreshes_by_view": {"public.revenue_north": 1, "public.revenue_south": 1},
        "concurrent_max": 1,
        "refresh_longest_ms": 841.7,
        "refreshed_in_turn": 0,
        "skipped": 6,
        "skipped_late": 0,
        "skip_longest_ms": 41.1,
        "ask_errors": [],
        "reads": 232,
        "reads_blocked": 0,
        "read_longest_ms": 80.3,
        "read_errors": [],
        "reader_wait_timeout_ms": 200,
        "scheduled": {"fired": True, "after_s": 1.2},
    },
    "tenant-leak": {
        "tenants": 3,
        "connections": 8,
        "requests": 240,
        "requests_of_nobody": 60,
        "tenants_that_read": 3,
        "leaks": 0,
        "first_leaks": [],
        "short_answers": 0,
        "errors": [],
        "worker": {"tries": 9, "refused": 9, "changed": False},
        "failed_jobs": {"made": 5, "found": 5, "others": 0},
    },
}


def verdicts(storm: str, missing: tuple[str, ...] = (), **changes: Any) -> dict[str, str]:
    report = StormReport(storm=storm, case=storm, processes=8, missing=missing, figures=FIGURES[storm] | changes)
    prefix = f"storm.{storm}."
    return {gate.id.removeprefix(prefix): gate.verdict.value for gate in gates_of(report)}


@pytest.mark.parametrize("storm", RACE_TESTS)
def test_a_good_storm_passes_every_gate_and_no_gate_is_undeclared(storm: str) -> None:
    assert verdicts(storm) == dict.fromkeys(GATES[storm], "PASS")


@pytest.mark.parametrize("storm", RACE_TESTS)
def test_a_member_without_a_report_takes_every_pass_away(storm: str) -> None:
    assert "PASS" not in verdicts(storm, missing=("replica 3 died of SIGKILL",)).values()


@pytest.mark.parametrize("storm", RACE_TESTS)
def test_a_storm_that_was_not_run_says_why(storm: str) -> None:
    (gate,) = gates_of(StormReport(storm=storm, case=storm, not_run="no section"))
    assert (gate.id, gate.verdict, gate.reason) == (f"storm.{storm}", Verdict.NOT_RUN, "no section")


@pytest.mark.parametrize("storm", RACE_TESTS)
def test_a_storm_that_was_asked_for_and_not_run_is_invalid(storm: str) -> None:
    (gate,) = gates_of(missing_section(storm, asked=True))
    assert (gate.id, gate.verdict) == (f"storm.{storm}", Verdict.INVALID)
    assert f"no section [storms.{storm}]" in gate.reason


def test_a_report_from_before_it_was_kept_who_asked_can_be_read() -> None:
    old = b'{"storm": "rate-limit", "case": "rate-limit", "not_run": "no section"}'
    assert not TypeAdapter(StormReport).validate_json(old).asked


def test_too_little_is_nobodys_fault_when_a_member_is_missing() -> None:
    missing = ("asker 2 died of SIGKILL",)
    assert verdicts("rate-limit", missing, scope_factor=0.5)["scope"] == "INVALID"
    assert verdicts("rate-limit", missing, scope_factor=4.0)["scope"] == "FAIL"
    assert verdicts("scheduler-claim", missing, unfinished=1)["all"] == "INVALID"
    assert verdicts("matview-refresh", missing, refreshes_by_view={"a": 1})["happens"] == "INVALID"


RED: list[tuple[str, dict[str, Any], set[str]]] = [
    # storm, what is seen, the gates that it turns red
    ("migration-race", {"differences": ["public.channel: 16 rows instead of 2"]}, {"once"}),
    ("migration-race", {"exit_codes": {"0": 5, "1": 3}, "said": ["UniqueViolation"]}, {"exit"}),
    ("migration-race", {"met": [8], "exit_codes": {"0": 5, "1": 3}, "refused": 2}, {"exit"}),
    ("migration-race", {"met": [8, 8], "exit_codes": {"1": 16}, "refused": 16, "nobody_migrated": 2}, {"exit"}),
    ("migration-race", {"exit_codes": {"0": 7, "timeout": 1}, "said": ["did not end within 60 s"]}, {"exit"}),
    ("migration-race", {"met": [1], "differences": ["public.account: 2 other rows"]}, {"once"}),
    ("migration-race", {"second_changes": ["public.channel: other rows"]}, {"second-run"}),
    ("migration-race", {"second_exit_codes": {"0": 7, "1": 1}}, {"second-run"}),
    ("scheduler-claim", {"repeats": 2, "jobs_repeated": 1}, {"once"}),
    ("scheduler-claim", {"repeats": 2, "jobs_repeated": 2}, {"once"}),
    ("scheduler-claim", {"killed": False}, {"once"}),
    ("scheduler-claim", {"repeats": 3, "jobs_repeated": 3, "kills": ["replica 1", "replica 5"]}, {"once"}),
    (
        "scheduler-claim",
        {"held": ["job 7"], "repeats_unexplained": 1, "unexplained": {"job 2": 1}},
        {"once"},
    ),
    ("scheduler-claim", {"unfinished": 1}, {"all"}),
    ("scheduler-claim", {"jobs_without_effect": 1}, {"all"}),
    ("scheduler-claim", {"jobs_beyond": 1}, {"all"}),
    ("scheduler-claim", {"exit_codes": {"0": 6, "1": 1}}, {"all"}),
    ("scheduler-claim", {"races_cut_short": 1, "exit_codes": {"0": 6, "1": 1}}, {"all"}),
    ("rate-limit", {"scope_factor": 4.0}, {"scope"}),
    ("rate-limit", {"scope_factor": 0.5}, {"scope"}),
    ("rate-limit", {"promised": "process"}, {"scope"}),
    ("rate-limit", {"other_statuses": {"503": 2}}, {"scope"}),
    ("rate-limit", {"processes": 4, "asked": 4000, "scope_factor": 4.0}, {"scope"}),
    # Each replica counts for itself until their counters meet: the whole windows after that are as promised.
    ("rate-limit", {"most_in_a_window": 80}, {"scope"}),
    ("rate-limit", {"ended": {"replica 2": -11}}, {"scope"}),
    ("matview-refresh", {"concurrent_max": 2}, {"single"}),
    ("matview-refresh", {"skipped_late": 1}, {"skip"}),
    ("matview-refresh", {"refreshed_in_turn": 1}, {"skip"}),
    ("matview-refresh", {"refreshes_by_view": {"public.revenue_north": 1}}, {"happens"}),
    ("matview-refresh", {"ask_errors": ["LockNotAvailable"]}, {"happens"}),
    ("matview-refresh", {"reads_blocked": 3}, {"readers"}),
    ("matview-refresh", {"scheduled": {"fired": False, "after_s": 5.0}}, {"scheduled"}),
    ("tenant-leak", {"leaks": 1, "first_leaks": ["nobody saw {'a': 20}"]}, {"visible"}),
    ("tenant-leak", {"short_answers": 1}, {"own"}),
    ("tenant-leak", {"errors": ["OperationalError"]}, {"own"}),
    ("tenant-leak", {"worker": {"tries": 9, "refused": 6, "changed": True}}, {"worker"}),
    ("tenant-leak", {"failed_jobs": {"made": 5, "found": 4, "others": 0}}, {"dead-letters"}),
    ("tenant-leak", {"failed_jobs": {"made": 5, "found": 5, "others": 1}}, {"dead-letters"}),
]


@pytest.mark.parametrize(("storm", "changes", "red"), RED)
def test_what_turns_a_gate_red_leaves_the_others_alone(storm: str, changes: dict[str, Any], red: set[str]) -> None:
    found = verdicts(storm, **changes)
    assert {gate for gate, verdict in found.items() if verdict == "FAIL"} == red


INVALID: list[tuple[str, dict[str, Any], set[str]]] = [
    # storm, what is missing, the gates that can claim nothing then
    ("migration-race", {"racing": 1}, {"once", "exit"}),
    ("migration-race", {"met": [1, 0]}, {"once", "exit"}),
    ("migration-race", {"commands_expected": 0}, {"once", "second-run"}),
    ("scheduler-claim", {"killed": False, "repeats": 0, "jobs_repeated": 0}, {"all"}),
    ("scheduler-claim", {"effects": 0}, {"once"}),
    ("scheduler-claim", {"replicas": 1}, {"all"}),
    ("scheduler-claim", {"races_cut_short": 1, "unfinished": 20, "exit_codes": {"timeout": 7}}, {"all"}),
    ("rate-limit", {"limited": 0}, {"scope"}),
    ("rate-limit", {"asked": 100}, {"scope"}),
    ("rate-limit", {"replicas": 1}, {"scope"}),
    ("rate-limit", {"replicas": 1, "processes": 4, "promised": "process", "scope_factor": 3.0}, {"scope"}),
    ("matview-refresh", {"askers": 2}, {"single"}),
    ("matview-refresh", {"reads": 0}, {"readers"}),
    ("matview-refresh", {"refresh_longest_ms": 150.0}, {"readers", "single", "skip"}),
    # Where all of it is over in a few milliseconds, who came late looks like one who waited.
    (
        "matview-refresh",
        {"refresh_longest_ms": 12.0, "skipped_late": 2, "refreshed_in_turn": 1, "refreshes": 8, "skipped": 0},
        {"readers", "single", "skip"},
    ),
    ("tenant-leak", {"requests": 0}, {"visible", "own"}),
    ("tenant-leak", {"tenants_that_read": 2}, {"visible"}),
    ("tenant-leak", {"worker": {"tries": 0, "refused": 0, "changed": False}}, {"worker"}),
    # Where a statement finds no row, nobody needed a guard.
    ("tenant-leak", {"worker": {"tries": 9, "refused": 0, "changed": False, "effective": 0}}, {"worker"}),
]


@pytest.mark.parametrize(("storm", "changes", "invalid"), INVALID)
def test_where_nothing_could_show_nothing_is_claimed(storm: str, changes: dict[str, Any], invalid: set[str]) -> None:
    found = verdicts(storm, **changes)
    assert {gate for gate, verdict in found.items() if verdict == "INVALID"} == invalid
    assert "FAIL" not in found.values()


def test_at_the_edge_of_two_windows_a_limiter_may_let_through_twice_the_limit() -> None:
    assert verdicts("rate-limit", most_in_a_window=48)["scope"] == "PASS"
    assert verdicts("rate-limit", most_in_a_window=80, burst=60)["scope"] == "PASS"
    of_each = {"promised": "process", "scope_factor": 4.0}
    assert verdicts("rate-limit", **of_each, most_in_a_window=180)["scope"] == "PASS"


def test_who_refuses_by_design_has_not_failed_and_one_race_of_several_is_enough() -> None:
    refusing = {"met": [8, 1], "exit_codes": {"0": 2, "1": 14}, "refused": 14}
    again = {"second_exit_codes": {"0": 1, "1": 7}, "second_refused": 7}
    assert set(verdicts("migration-race", **refusing, **again).values()) == {"PASS"}


def test_processes_behind_one_port_share_a_limit_or_have_one_each() -> None:
    behind_one_port = {"replicas": 1, "processes": 4}
    assert verdicts("rate-limit", **behind_one_port) == {"scope": "PASS"}
    assert verdicts("rate-limit", **behind_one_port, promised="process", scope_factor=4.0) == {"scope": "PASS"}


def test_what_the_processes_answered_must_tell_a_shared_limit_from_one_of_each() -> None:
    seen = {"replicas": 1, "processes": 4}
    assert verdicts("rate-limit", **seen, answered={"7": 1, "8": 1}, scope_factor_of_each=2.0)["scope"] == "PASS"
    assert verdicts("rate-limit", **seen, answered={"7": 99, "8": 1}, scope_factor_of_each=1.1)["scope"] == "INVALID"
    assert verdicts("rate-limit", **seen, answered={}, scope_factor_of_each=0.0)["scope"] == "INVALID"
    both = {**seen, "scope_factor": 4.0, "answered": {}, "scope_factor_of_each": 0.0}
    assert verdicts("rate-limit", **both)["scope"] == "FAIL"


def test_where_nobody_knows_whose_job_was_repeated_each_kill_explains_one() -> None:
    assert verdicts("scheduler-claim", repeats=2, jobs_repeated=2, kills=["replica 1", "replica 5"])["once"] == "PASS"


def test_repeats_of_all_jobs_that_the_killed_replica_held_are_forgiven() -> None:
    told = {"held": ["job 2", "job 3"], "repeats_unexplained": 0, "unexplained": {}}
    assert verdicts("scheduler-claim", repeats=2, jobs_repeated=2, **told)["once"] == "PASS"


def test_what_a_profile_does_not_name_is_not_run() -> None:
    assert verdicts("tenant-leak", worker=None, failed_jobs=None)["worker"] == "NOT-RUN"
    assert verdicts("tenant-leak", worker=None, failed_jobs=None)["dead-letters"] == "NOT-RUN"
    assert verdicts("matview-refresh", scheduled=None)["scheduled"] == "NOT-RUN"


def test_a_pack_from_before_it_was_counted_who_read_can_be_judged() -> None:
    old = {name: figure for name, figure in FIGURES["tenant-leak"].items() if name != "tenants_that_read"}
    gates = gates_of(StormReport(storm="tenant-leak", case="tenant-leak", figures=old))
    assert {gate.verdict for gate in gates} == {Verdict.PASS}


def test_a_storm_alone_is_judged_without_a_null_benchmark() -> None:
    report = StormReport(storm="rate-limit", case="rate-limit", figures=FIGURES["rate-limit"])
    assert "calibration.null" not in {gate.id for gate in judge(Case(verb="storm", storms=(report,)))}
    assert {"calibration.null", "storm.rate-limit.scope"} <= {g.id for g in judge(Case(storms=(report,)))}


@pytest.mark.parametrize("storm", RACE_TESTS)
def test_every_gate_must_turn_red_for_some_weakness(storm: str) -> None:
    red = {gate for weakness in WEAKNESSES if weakness.storm == storm for gate in weakness.red}
    assert red == set(GATES[storm])


@pytest.mark.parametrize("storm", RACE_TESTS)
def test_every_protection_is_taken_away_once(storm: str) -> None:
    taken = [name for weakness in WEAKNESSES if weakness.storm == storm for name in weakness.without]
    assert sorted(taken) == sorted(PROTECTIONS[storm])


def test_an_unknown_protection_is_refused() -> None:
    require_protections("rate-limit", ("shared",))
    with pytest.raises(UsageError, match="protections shared"):
        require_protections("rate-limit", ("locks",))
