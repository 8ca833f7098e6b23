"""The few series of a Prometheus text that tell of the pool."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.evidence.pool_metrics import sums

NAMES = {"connections_max": "pool_max", "acquire_wait_s": "pool_wait_seconds_sum", "timeouts": None}

TEXTS = [
    ("a sample a process", 'pool_max{process="0"} 8\npool_max{process="1"} 8\n', {"connections_max": 16.0}),
    ("no labels", "pool_wait_seconds_sum 1.5e2\n", {"acquire_wait_s": 150.0}),
    ("labels that hold anything", 'pool_max{a="} 7",b="x"} 3\n', {"connections_max": 3.0}),
    ("a time behind the value", "pool_max 3 1700000000000\n", {"connections_max": 3.0}),
    ("comments and longer names", "# pool_max 1\n# HELP pool_max x\npool_max_ever 9\nmy_pool_max 9\n", {}),
    ("what is no number", "pool_max NaN\npool_wait_seconds_sum +Inf\npool_max many\n", {}),
    (
        "an exemplar",
        'pool_max{pod="a"} 500 # {trace_id="abc"} 1.0\npool_max{pod="b"} 7 1.5 # {t="} #"} 2 3.1\n# EOF\n',
        {"connections_max": 507.0},
    ),
    ("a name in quotes", '{"pool_max", pod="a"} 3\n{pod="pool_max"} 4\n', {"connections_max": 3.0}),
    ("other line ends and spaces", '  pool_max {a="b", }\t 3 \r\npool_max 4', {"connections_max": 7.0}),
    ("quotes and backslashes", r'pool_max{a="\\",b="\"} 7"} 3', {"connections_max": 3.0}),
    ("what is no sample", 'pool_max 1_000\npool_max 0x10\npool_max 3 4 5\npool_max{a="b} 3\npool_max\n', {}),
    ("a number beyond all", "pool_max 1e999\n", {}),
    ("nothing", "", {}),
    ("no text at all", "\x00\xff{{{", {}),
]


@pytest.mark.parametrize(("text", "found"), [row[1:] for row in TEXTS], ids=[row[0] for row in TEXTS])
def test_sums(text: str, found: dict[str, float]) -> None:
    assert sums(text, NAMES) == found


_PIECES = st.sampled_from(
    ["pool_max", "{", "}", '"', "\\", " ", "#", "a=", ",", "1", "1e5", "NaN", "\n", "\r", "\t", "é"]
)


@given(st.one_of(st.text(), st.lists(_PIECES, max_size=60).map("".join)))
def test_no_text_at_all_is_an_error(text: str) -> None:
    assert all(isinstance(value, float) for value in sums(text, NAMES).values())


@pytest.mark.parametrize(
    "line",
    [
        "pool_max{" + 'a="b",' * 100_000,
        "pool_max{" + '"' * 300_001 + "} 3",
        '{"pool_max"' + ',"a"' * 100_000,
        "pool_max" + " " * 300_000 + "x",
        "pool_max " + "1" * 300_000 + "x",
        "pool_max 1" + " " * 300_000 + "# x",
        '{"pool_max' * 50_000,
    ],
    ids=lambda line: line[:14],
)
def test_a_long_line_is_read_once(line: str) -> None:
    """A pattern that tried every end of a part would take minutes: the test would not end in time."""
    assert sums(line, NAMES) == {}
