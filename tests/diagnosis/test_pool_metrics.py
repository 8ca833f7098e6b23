"""The few series of a Prometheus text that tell of the pool."""

from __future__ import annotations

import pytest

from rig.evidence.pool_metrics import sums

NAMES = {"connections_max": "pool_max", "acquire_wait_s": "pool_wait_seconds_sum", "timeouts": None}

TEXTS = [
    ("a sample a process", 'pool_max{process="0"} 8\npool_max{process="1"} 8\n', {"connections_max": 16.0}),
    ("no labels", "pool_wait_seconds_sum 1.5e2\n", {"acquire_wait_s": 150.0}),
    ("labels that hold anything", 'pool_max{a="} 7",b="x"} 3\n', {"connections_max": 3.0}),
    ("a time behind the value", "pool_max 3 1700000000000\n", {"connections_max": 3.0}),
    ("comments and longer names", "# pool_max 1\n# HELP pool_max x\npool_max_ever 9\nmy_pool_max 9\n", {}),
    ("what is no number", "pool_max NaN\npool_wait_seconds_sum +Inf\npool_max many\n", {}),
    ("nothing", "", {}),
    ("no text at all", "\x00\xff{{{", {}),
]


@pytest.mark.parametrize(("text", "found"), [row[1:] for row in TEXTS], ids=[row[0] for row in TEXTS])
def test_sums(text: str, found: dict[str, float]) -> None:
    assert sums(text, NAMES) == found
