"""One load process: waits for assignments on a pipe, runs each as a ``Drive``, reports.

Flow: parent sends ``Assignment`` → worker prepares, answers ``Ready`` → parent sends ``Go`` → worker sends ``Progress``
as it goes and ends with its ``WorkerReport``, or with ``Failed``. ``Abort`` may come at any time. When the parent is
gone, so is the worker.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

import uvloop

from rig.engine.scenario_run import Assignment, Drive
from rig.errors import RigError
from rig.evidence.scenario_runs import WorkerReport


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything is built, signed and connected."""


@dataclass(frozen=True, slots=True)
class Go:
    """Start at this time of the monotonic clock."""

    start_ns: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop at once; what is in flight is given up."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Rows written so far."""

    rows: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker could not do its part; the reason in a sentence."""

    reason: str


def main(pipe: Pipe) -> None:
    """Serve assignments until the pipe closes."""
    # Ctrl-C in a terminal reaches every process of the group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while True:
            try:
                message = pipe.recv()
                if isinstance(message, Assignment):
                    pipe.send(runner.run(_serve(message, pipe)))
                    del message
                    gc.collect()
            except (EOFError, OSError):  # the parent is gone
                return


async def _serve(assignment: Assignment, pipe: Pipe) -> WorkerReport | Failed:
    loop = asyncio.get_running_loop()
    try:
        scenario_run = (assignment.scenario_run or Drive)(assignment, lambda rows: pipe.send(Progress(rows)))
    except (OSError, RigError) as error:
        return Failed(f"worker {assignment.worker}: {error}")
    go: asyncio.Future[int] = loop.create_future()

    def heard() -> None:
        try:
            message: Any = pipe.recv()
        except (EOFError, OSError):
            # Nobody is left to report to: end here and now, mid-request.
            scenario_run.give_up()
            raise SystemExit(1) from None
        if isinstance(message, Go) and not go.done():
            go.set_result(message.start_ns)
        elif isinstance(message, Abort):
            if not go.done():
                go.cancel()
            scenario_run.abort()

    def broke(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        scenario_run.fail(context.get("exception") or RuntimeError(str(context.get("message"))))

    loop.set_exception_handler(broke)
    loop.add_reader(pipe.fileno(), heard)
    # The loop made it non-blocking; between drives it is read by waiting.
    os.set_blocking(pipe.fileno(), True)
    try:
        await scenario_run.prepare()
        pipe.send(Ready())
        return await scenario_run.run(await go)
    except asyncio.CancelledError:
        return Failed(f"worker {assignment.worker}: aborted before its start")
    except (OSError, RigError, ArithmeticError, LookupError, MemoryError, TypeError, ValueError, RuntimeError) as error:
        return Failed(f"worker {assignment.worker}: {type(error).__name__}: {error}")
    finally:
        loop.remove_reader(pipe.fileno())
        await scenario_run.close()
