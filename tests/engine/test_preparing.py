"""Requests that are made before the clock: in one process or in several, they are the same."""

from __future__ import annotations

import os
import time

import pytest

from rig.engine import preparing
from rig.engine.preparing import Preparation
from rig.errors import ConfigError

SEQS = range(1, 60, 2)


def slow(seq: int, now: float) -> bytes:
    """As costly as a signature with a private key: half a millisecond of CPU."""
    until = time.thread_time() + 5e-4
    while time.thread_time() < until:
        pass
    return b"%d at %d by %d" % (seq, int(now), os.getpid())


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> int:
    """Three cores at least, of which some need not exist; a preparation is shared out from 10 ms on."""
    own = {*os.sched_getaffinity(0), 998, 999}
    monkeypatch.setattr(preparing, "_cores_before_the_clock", lambda: own)
    monkeypatch.setattr(preparing, "_LONG_S", 0.01)
    return len(own)


def parts(made: list[bytes]) -> tuple[list[int], set[bytes]]:
    return [int(each.split(b" ")[0]) for each in made], {each.split(b" ")[-1] for each in made}


def test_a_long_preparation_is_shared_out_and_its_order_stays(cores: int) -> None:
    made = Preparation(slow, SEQS, 1).make_all(SEQS)
    seqs, processes = parts(made)
    assert seqs == list(SEQS)
    assert len(processes) == cores


@pytest.mark.parametrize("more", [0, 1, 5])
def test_workers_that_fill_the_cores_make_their_own(cores: int, more: int) -> None:
    assert parts(Preparation(slow, SEQS, cores + more).make_all(SEQS)) == (list(SEQS), {b"%d" % os.getpid()})


def test_a_short_preparation_is_not_shared_out() -> None:
    assert len(parts(Preparation(slow, SEQS, 1).make_all(SEQS[:4]))[1]) == 1


def test_what_fails_in_another_process_is_said() -> None:
    def make(seq: int, now: float) -> bytes:
        if seq == SEQS[1]:
            raise ConfigError("its secret must be a private key")
        return slow(seq, now)

    with pytest.raises(ConfigError, match="its secret must be a private key"):
        Preparation(make, SEQS, 1).make_all(SEQS)


def test_a_process_that_dies_is_no_request_lost() -> None:
    own = os.getpid()

    def make(seq: int, now: float) -> bytes:
        if os.getpid() != own:
            os._exit(9)
        return slow(seq, now)

    with pytest.raises(ConfigError, match="died"):
        Preparation(make, SEQS, 1).make_all(SEQS)


def test_the_cost_is_cpu_time_of_one_request() -> None:
    preparation = Preparation(slow, SEQS, 1)
    assert preparation.making_us >= 500
