"""Schedules, as tables and as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.engine.pacer import NS, Constant, Pacer, Poisson, Ramp, pacer_for
from rig.model import Arrivals, Pace

RATES = st.floats(0.01, 1e6)


@pytest.mark.parametrize(
    ("pacer", "seq", "due_s"),
    [
        (Constant(1000), 0, 0.0),
        (Constant(1000), 1, 0.001),
        (Constant(1000), 10_000, 10.0),
        (Constant(3), 1, 1 / 3),
        # From 0 to 100/s over 10 s: n = 5 t², so 5 requests by 1 s and 500 by 10 s; then 100/s.
        (Ramp(100, 10), 0, 0.0),
        (Ramp(100, 10), 5, 1.0),
        (Ramp(100, 10), 500, 10.0),
        (Ramp(100, 10), 600, 11.0),
    ],
)
def test_when_a_request_is_due(pacer: Pacer, seq: int, due_s: float) -> None:
    assert pacer.intended_ns(seq) == pytest.approx(due_s * NS, abs=2)


@given(
    pacer=st.one_of(
        st.builds(Constant, RATES),
        st.builds(Ramp, RATES, st.floats(0.1, 1000)),
    ),
    seq=st.integers(0, 10_000_000),
)
def test_times_never_go_back(pacer: Pacer, seq: int) -> None:
    assert 0 <= pacer.intended_ns(seq) <= pacer.intended_ns(seq + 1)


def test_poisson_arrivals_are_the_same_for_every_worker_and_have_exponential_gaps() -> None:
    one, other = Poisson(500, 20_000, seed=7), Poisson(500, 20_000, seed=7)
    times = np.array([one.intended_ns(seq) for seq in range(20_000)])
    assert [other.intended_ns(seq) for seq in (0, 1, 19_999)] == times[[0, 1, 19_999]].tolist()
    gaps_s = np.diff(times) / NS
    assert (gaps_s >= 0).all()
    # Mean and standard deviation of an exponential distribution are equal; 20,000 draws of a fixed seed.
    assert gaps_s.mean() == pytest.approx(1 / 500, rel=0.03)
    assert gaps_s.std() == pytest.approx(1 / 500, rel=0.03)
    assert Poisson(500, 10, seed=8).intended_ns(0) != one.intended_ns(0)


@pytest.mark.parametrize(
    ("pace", "kind"),
    [
        (Pace(10), type(None)),
        (Pace(10, 5.0), Constant),
        (Pace(10, 5.0, Arrivals.POISSON), Poisson),
        (Pace(10, 5.0, Arrivals.RAMP, ramp_over_s=3.0), Ramp),
    ],
)
def test_the_pacer_of_a_pace(pace: Pace, kind: type) -> None:
    assert isinstance(pacer_for(pace, 10, 1), kind)
