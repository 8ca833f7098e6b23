"""The stubs of the calibration as child processes: started, addressed, ended."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from rig.machine.child import listening
from rig.target.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Stub:
    """A running stub."""

    endpoint: Endpoint
    process: psutil.Process

    def cpu_s(self) -> float:
        """CPU time that it has used, seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


def null_stub(*, close_connections: bool = False, cores: Collection[int] = ()) -> AbstractContextManager[Stub]:
    """Run ``stub_server.null``; ``cores`` are the only ones that it may use, empty for all."""
    return _running("stub_server.null", ["--close"] if close_connections else [], cores)


def latency_stub(*, cores: Collection[int] = (), ledger: Path | None = None) -> AbstractContextManager[Stub]:
    """Run ``stub_server.latency``; the base path of a request selects the delay.

    ``ledger``: the file for all delays that it made (int64 ns), which it writes when it ends.
    """
    return _running("stub_server.latency", ["--ledger", str(ledger)] if ledger else [], cores)


@contextmanager
def _running(module: str, options: Sequence[str], cores: Collection[int]) -> Iterator[Stub]:
    """Run a stub on a free port of loopback; RigError when it does not come up."""
    with listening(module, *options) as (process, port):
        if cores:
            os.sched_setaffinity(process.pid, cores)
        yield Stub(Endpoint("127.0.0.1", port), psutil.Process(process.pid))
