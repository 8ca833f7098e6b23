"""From frames to numbers: only the time of the judged storm counts, and every place is a mean number of requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from rig.diagnose import diagnose, explain
from rig.diagnose.measured import measure
from rig.diagnose.numbers import Measured
from rig.evidence.case import Case
from rig.evidence.pool_metrics import POOL_COLUMNS
from rig.evidence.sample_names import CLIENT_BACKEND, PG_ACTIVITY, PIDS, Role
from rig.evidence.samples import SamplerReport, Samples, with_types
from rig.evidence.scenario_runs import Interval
from tests.checks.cases import MS, START_NS, case, driven, plan

COUNT = 4000  # a request a millisecond: four seconds
S8 = plan("S8", count=COUNT, limit_s=10.0)
QUIET = Interval(cores_busy=(0.4, 0.3), steal=0.0, throttled_s=0.0)
BEFORE_MS, AFTER_MS = -2000, 6000
"""The samplers look longer than the storm lasts."""


def storm(samples: Samples | None = None, **parts: Any) -> Case:
    """Four seconds of S8, each request answered after 50 ms: 50 in flight."""
    drove = driven(S8, took_s=4.05, response_ms=[50.0] * COUNT, wall_s=4.05)
    drove = replace(drove, report=replace(drove.report, machine=QUIET))
    return replace(case(drove), samples=sampled() if samples is None else samples, **parts)


def sampled(event: str = "IO:WalSync", sessions: int = 2, hidden: int = 0, **more: Any) -> Samples:
    """``sessions`` wait for an event during the storm; before and after it ten times as many wait for a lock."""
    times = [(at, START_NS + at * MS) for at in range(BEFORE_MS, AFTER_MS, 50)]
    seconds = [START_NS + at * MS for at in range(BEFORE_MS, AFTER_MS, 1000)]
    activity: list[tuple[Any, ...]] = []
    for at, at_ns in times:
        inside = 0 <= at < 4050
        kind, _, name = (event if inside else "Lock:tuple").partition(":")
        count = sessions if inside else 10 * sessions
        activity += [(at_ns, n, CLIENT_BACKEND, "shop", "shop", "active", kind, name, 1, 0.0) for n in range(count)]
    frames: dict[str, Any] = {
        "sessions": with_types("sessions", [(at_ns, sessions, 4, 0, 0, hidden, 0) for _, at_ns in times]),
        "activity": with_types("activity", activity),
        "counters": with_types("counters", [(at, "pg_stat_database", "", "xact_commit", 1000.0) for at in seconds]),
        "processes": with_types("processes", [(times[0][1], 5, 5, 1, Role.SERVER, "python", times[0][1])]),
        "pids": with_types(
            "pids",
            [
                # A fifth of a core, a tenth of the time without one; 2,000 bytes written a second; never on a disk.
                (at_ns, 5, Role.SERVER, n * 0.01, 0, 0, 0, 0, n * 0.005, 1, 1, 3, 0, 0, n * 100, "S")
                for n, (_, at_ns) in enumerate(times)
            ],
        ),
        "sockets": with_types("sockets", [(at, 5, 10) for at in seconds]),
        "reports": (
            SamplerReport(name=PG_ACTIVITY, facts={"server_version": 180000}),
            SamplerReport(name=PIDS, facts={"cores": 2, "postgres_found": True}),
        ),
    }
    return Samples(**(frames | more))


def pool_of(*rows: tuple[float, str, float]) -> pd.DataFrame:
    return pd.DataFrame([(START_NS + int(at_s * 1e9), what, value) for at_s, what, value in rows], columns=POOL_COLUMNS)


def measured(whole: Case) -> Measured:
    return measure(whole, whole.scenario_runs)


def test_requests_in_flight_are_rate_times_response_time() -> None:
    found = measured(storm())
    assert found.requests == COUNT
    assert found.in_flight == pytest.approx(50, rel=0.02)
    assert sum(found.places().values()) == pytest.approx(found.in_flight, abs=0.1)


def test_only_the_time_of_the_storm_counts() -> None:
    database = measured(storm()).database
    assert database is not None
    assert database.by_event.to_dict() == pytest.approx({"IO:WalSync": 2.0})
    assert (database.committing, database.lock_waiting) == (pytest.approx(2.0), 0.0)
    assert database.commits_per_s == pytest.approx(1000, rel=0.02)
    assert database.connects_per_s == 0


def test_what_a_process_of_the_server_did() -> None:
    server = measured(storm()).server
    assert server is not None
    (process,) = server.processes
    assert (process.pid, process.on_core, process.without_core, process.on_disk) == pytest.approx((5, 0.2, 0.1, 0.0))
    assert server.cpu_ms_per_request == pytest.approx(0.2, rel=0.02)
    assert server.written_bytes_per_request == pytest.approx(2.0, rel=0.02)


def test_seconds_waited_for_a_connection_are_requests_that_wait() -> None:
    # 40 seconds waited in 4: ten at a time.
    rows = [(at, "acquire_wait_s", 100 + 10.0 * at) for at in range(0, 6)]
    pool = measured(storm(pool=pool_of(*rows, (1.0, "connections_max", 16.0)))).pool
    assert pool is not None
    assert (pool.waiting, pool.connections_max) == (pytest.approx(10.0, rel=0.02), 16.0)


def test_a_pool_that_starts_anew_counts_on() -> None:
    rows = [(0, 100.0), (1, 110.0), (2, 4.0), (3, 14.0), (4, 24.0), (5, 34.0)]
    pool = measured(storm(pool=pool_of(*((at, "acquire_wait_s", value) for at, value in rows)))).pool
    assert pool is not None
    assert pool.waiting == pytest.approx(30 / 4, rel=0.05)


def test_what_waited_in_the_drive_before_does_not_count() -> None:
    # The first reading inside the storm holds 500 seconds that were waited in the drive before it.
    rows = [(-0.5, 0.0), (0.5, 500.0), (1.5, 510.0), (2.5, 520.0), (3.5, 530.0), (4.5, 900.0)]
    pool = measured(storm(pool=pool_of(*((at, "acquire_wait_s", value) for at, value in rows)))).pool
    assert pool is not None
    assert pool.waiting == pytest.approx(10.0)


def test_a_pool_that_was_read_once_in_a_storm_says_nothing_of_it() -> None:
    rows = [(-0.5, "acquire_wait_s", 0.0), (2.0, "acquire_wait_s", 40.0), (5.0, "acquire_wait_s", 80.0)]
    found = measured(storm(pool=pool_of(*rows)))
    assert found.pool is None
    assert "not read twice" in found.unseen["pool"]


@pytest.mark.parametrize(
    ("samples", "part", "why"),
    [
        (Samples(), "database", "nobody looked"),
        (Samples(), "server", "were not found"),
        (sampled(hidden=3), "database", "pg_monitor"),
        (sampled(pids=with_types("pids", [])), "server", "were not found"),
    ],
)
def test_what_was_not_seen_is_none_and_says_why(samples: Samples, part: str, why: str) -> None:
    found = measured(storm(samples))
    assert getattr(found, part) is None
    assert why in found.unseen[part]


def test_few_looks_decide_nothing() -> None:
    few = sampled()
    few = replace(few, sessions=few.sessions[few.sessions["at_ns"] < START_NS + 500 * MS])
    assert "10 times" in measured(storm(few)).unseen["database"]


# --- the whole ---


def test_a_case_from_end_to_end() -> None:
    slow = diagnose(
        storm(sampled("IO:WalSync", 30), pool=pool_of((0, "acquire_wait_s", 0.0), (4, "acquire_wait_s", 0.0)))
    )
    assert (slow.state, slow.first, slow.of) == ("supported", "H-A1", (S8.label,))
    assert slow.answer.startswith(
        "commit path of the database: a commit takes 30 ms, 30.0 of 30.0 active sessions are in"
    )


def test_the_same_case_gives_the_same_answer() -> None:
    assert diagnose(storm()) == diagnose(storm())


def test_without_samplers_it_says_what_to_look_at() -> None:
    found = diagnose(storm(Samples()))
    assert (found.state, found.first) == ("undetermined", None)
    assert len(found.look_next) == 2


def test_nothing_that_lasted_is_nothing_to_explain() -> None:
    short = driven(plan("S1", count=10), took_s=0.1)
    found = diagnose(case(short))
    assert (found.state, found.hypotheses) == ("undetermined", ())
    assert explain(Case()) is None


def test_a_crash_of_its_own_is_undetermined() -> None:
    found = explain(replace(storm(), samples=None))
    assert found is not None
    assert (found.state, "crashed" in found.answer) == ("undetermined", True)
