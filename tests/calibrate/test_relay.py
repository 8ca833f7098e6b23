"""The cost of the relay is measured on a real one, and a slow one shows."""

from __future__ import annotations

import pytest

from rig.calibrate.relay import measure_relay
from rig.target.relay import Relay


def test_a_relay_that_delays_each_answer_costs_that_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure_relay()
    enter = Relay.__enter__

    def enter_slowly(relay: Relay) -> Relay:
        enter(relay).delay(1.0)
        return relay

    monkeypatch.setattr(Relay, "__enter__", enter_slowly)
    slow = measure_relay(exchanges=50)
    assert whole is not None
    assert slow is not None
    assert slow.added_p50_ms > 2.0 > whole.added_p50_ms, "a millisecond each way"
    assert (whole.exchanges, slow.exchanges) == (1000, 50)
    assert whole.cpu_us > 0
