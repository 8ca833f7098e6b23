"""What the tests of the samplers share: sampling until a condition holds, and reading what was seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from rig.evidence.sample_files import read_samples
from rig.evidence.samples import Samples
from rig.samplers.process import SamplerProcess
from rig.samplers.sampling import SamplingPlan, sampling


@dataclass
class Watched:
    """Samplers at work; ``samples`` may be read while they go on, and after."""

    folder: Path
    samplers: tuple[SamplerProcess, ...] = field(default=())

    @property
    def samples(self) -> Samples:
        return read_samples(self.folder)

    def until(self, condition: Callable[[Samples], bool], timeout_s: float = 15.0) -> Samples:
        """The samples in which the condition holds; AssertionError when it never does."""
        deadline = time.monotonic() + timeout_s
        while not condition(samples := self.samples):
            assert time.monotonic() < deadline, "the samplers never saw it"
            time.sleep(0.1)
        return samples


@contextmanager
def watched(plan: SamplingPlan, folder: Path) -> Iterator[Watched]:
    watching = Watched(folder)
    with sampling(plan, folder) as samplers:
        watching.samplers = samplers.processes
        yield watching


def connected(dsn: str, name: str = "shop") -> psycopg.Connection[tuple[object, ...]]:
    """A session of a target."""
    return psycopg.connect(dsn, autocommit=True, application_name=name)
