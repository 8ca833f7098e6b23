"""Requests that are made and signed before the clock starts, in all cores where that takes long.

``Preparation`` says what it would cost and makes them. A forked process makes each share: it has all that it needs, and
hands back bytes through a pipe. Not for requests that are signed as they go (``rig.engine.scenario_executor``).
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO

from rig.errors import ConfigError, RigError
from rig.requests.cost import making_us

_LONG_S = 1.0
"""A preparation that takes longer is shared out."""


class Preparation:
    """What ``make(seq, now)`` will cost for ``seqs`` in a worker that shares the machine with others like it."""

    def __init__(self, make: Callable[[int, float], bytes], seqs: Sequence[int], workers: int) -> None:
        self._make = make
        self._cores = _cores_before_the_clock()
        self._shares = max(1, len(self._cores) // workers)
        now = time.time()
        self.making_us = making_us(lambda seq: make(seq, now), seqs)

    def seconds(self, count: int) -> float:
        """How long it takes to make so many, about."""
        return self.making_us * count / 1e6 / self._shares

    def make_all(self, seqs: Sequence[int]) -> list[bytes]:
        """Their bytes, all signed now."""
        now = time.time()
        if self._shares == 1 or self.seconds(len(seqs)) * self._shares < _LONG_S:
            return [self._make(seq, now) for seq in seqs]
        shares = [seqs[share :: self._shares] for share in range(self._shares)]
        others = [self._fork(share, now) for share in shares[1:]]
        made: list[bytes] = [b""] * len(seqs)
        made[:: self._shares] = [self._make(seq, now) for seq in shares[0]]
        for number, (pid, pipe) in enumerate(others, 1):
            made[number :: self._shares] = _read_share(pid, pipe)
        return made

    def _fork(self, seqs: Sequence[int], now: float) -> tuple[int, BinaryIO]:
        """A process that makes a share, and the pipe that it is read from."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writing)
            return pid, os.fdopen(reading, "rb")
        try:
            with suppress(OSError):
                os.sched_setaffinity(0, self._cores)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(self._make_or_say_why(seqs, now), pipe)
        finally:
            os._exit(0)  # whatever happened: this process must not go on as a second worker

    def _make_or_say_why(self, seqs: Sequence[int], now: float) -> list[bytes] | str:
        try:
            return [self._make(seq, now) for seq in seqs]
        except Exception as error:  # it may be somebody else's code, and its exception no pickle
            return str(error) if isinstance(error, RigError) else repr(error)


def _read_share(pid: int, pipe: BinaryIO) -> list[bytes]:
    """What a forked process made; ConfigError where it could not."""
    try:
        with pipe:
            result: list[bytes] | str = pickle.load(pipe)
    except (EOFError, pickle.UnpicklingError):
        result = "the process that made them died"
    os.waitpid(pid, 0)
    if isinstance(result, str):
        raise ConfigError(f"requests could not be made: {result}")
    return result


def _cores_before_the_clock() -> set[int]:
    """The cores that the rig may use. A worker may be kept to some of them, but before the clock all are idle."""
    try:
        return os.sched_getaffinity(os.getppid())
    except (AttributeError, OSError):  # another system, or the rig is gone
        return {0}
