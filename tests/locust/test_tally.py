"""From rows to locust's statistics."""

from __future__ import annotations

import numpy as np
import pytest

from rig.errors import ErrorKind
from rig.evidence.failures import failures_of
from rig.evidence.scenario_runs import RESULT
from rig.locust_bridge.tally import Tally, round_significant

MS = 1_000_000


def rows(*endings: tuple[float, int, ErrorKind]) -> np.ndarray:
    """Rows by (response ms, status, error kind), one a second."""
    made = np.zeros(len(endings), dtype=RESULT)
    for seq, (ms, status, kind) in enumerate(endings):
        sent_ns = (seq + 1) * 1_000 * MS
        made[seq] = (seq, sent_ns, sent_ns, sent_ns + int(ms * MS), 0, status, kind, 0)
    return made


def test_values_keep_three_digits() -> None:
    values = np.array([0.012345, 1.2345, 12.345, 123.45, 1234.5, 99999.0])
    assert round_significant(values).tolist() == [0.0123, 1.23, 12.3, 123.0, 1230.0, 100000.0]


def test_an_expected_refusal_is_no_failure_and_a_wrong_answer_is_one() -> None:
    made = rows((1, 422, ErrorKind.NONE), (1, 200, ErrorKind.NONE), (1, 500, ErrorKind.NONE), (1, 0, ErrorKind.TIMEOUT))
    share = np.array([0, 1, 1, 1])
    assert failures_of(made, share, [(422,), (200,)]).tolist() == [False, False, True, True]


def test_deltas_add_up_and_start_anew() -> None:
    tally = Tally(wall_offset_ns=10_000 * MS)
    first = rows((1.5, 200, ErrorKind.NONE), (2.5, 500, ErrorKind.NONE))
    tally.add("S2", first, np.array([False, True]))
    tally.add("S3", rows((4.0, 0, ErrorKind.TIMEOUT)), np.array([True]))
    tally.add("S2", rows((1.5, 200, ErrorKind.NONE)), np.array([False]))
    report = tally.take()
    by_name = {entry["name"]: entry for entry in report["stats"]}
    assert by_name["S2"]["num_requests"] == 3
    assert by_name["S2"]["response_times"] == {1.5: 2, 2.5: 1}
    assert by_name["S2"]["num_reqs_per_sec"] == {11: 2, 12: 1}
    total = report["stats_total"]
    assert (total["num_requests"], total["num_failures"]) == (4, 2)
    assert (total["min_response_time"], total["max_response_time"]) == (1.5, 4.0)
    assert total["total_response_time"] == pytest.approx(9.5)
    assert {error["error"]: error["occurrences"] for error in report["errors"].values()} == {
        "status 500": 1,
        "timeout": 1,
    }
    assert tally.take()["stats"] == []


def test_the_first_request_of_each_error_is_known_by_its_key() -> None:
    tally = Tally()
    made = rows((9_000, 500, ErrorKind.NONE), (1, 500, ErrorKind.NONE), (1, 0, ErrorKind.TIMEOUT))
    tally.add("S2", made, np.ones(3, bool), "key {}".format)
    tally.take()
    tally.add("S2", made, np.ones(3, bool), "another {}".format)
    assert tally.examples == {"POST/S2/status 500": "key 1", "POST/S2/timeout": "key 2"}


def test_what_was_never_sent_is_no_request() -> None:
    tally = Tally()
    tally.add("S8", rows((0, 0, ErrorKind.SKIPPED)), np.array([True]))
    assert tally.take()["stats_total"]["num_requests"] == 0
