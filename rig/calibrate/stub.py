"""The stubs of the calibration as child processes: started, addressed, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from rig.engine.endpoint import Endpoint
from rig.errors import RigError

_STOP_S = 5.0


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
    """Run ``stub_server.latency``; the base path of a request says how it is treated.

    ``ledger``: where it leaves all delays that it delivered (int64 ns) once it has ended.
    """
    return _running("stub_server.latency", ["--ledger", str(ledger)] if ledger else [], cores)


@contextmanager
def _running(module: str, options: Sequence[str], cores: Collection[int]) -> Iterator[Stub]:
    """Run a stub on a free port of loopback; RigError when it does not come up."""
    arguments = [sys.executable, "-m", module, *options]
    # In a session of its own: Ctrl-C in a terminal is for the rig, which ends the stub in its turn.
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RigError(f"{module} ended with exit code {process.wait(_STOP_S)} before it listened")
            if cores:
                os.sched_setaffinity(process.pid, cores)
            yield Stub(Endpoint("127.0.0.1", json.loads(line)["port"]), psutil.Process(process.pid))
        finally:
            process.stdin.close()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
