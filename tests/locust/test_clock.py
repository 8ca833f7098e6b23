"""Offsets between the clocks of two hosts."""

from __future__ import annotations

import time

from rig.locust_bridge.clock import Offset, boot_id


def test_the_smallest_round_trip_decides() -> None:
    offset = Offset()
    sent_ns = time.monotonic_ns() - 10_000_000
    offset.hear(sent_ns, sent_ns + 5_000_000_000, "another boot")
    coarse_ns = offset.error_ns
    assert abs(offset.offset_ns - 5_000_000_000) <= coarse_ns + 1_000_000
    sent_ns = time.monotonic_ns()
    offset.hear(sent_ns, sent_ns + 7_000_000_000, "another boot")
    assert offset.error_ns < coarse_ns
    assert abs(offset.offset_ns - 7_000_000_000) <= offset.error_ns
    before = offset.offset_ns
    offset.hear(time.monotonic_ns() - 10**9, 0, "another boot")
    assert offset.offset_ns == before


def test_processes_of_one_boot_share_a_clock() -> None:
    offset = Offset()
    assert not offset.known
    offset.hear(time.monotonic_ns() - 10**9, 1, boot_id())
    assert offset.known
    assert (offset.offset_ns, offset.error_ns) == (0, 0)
