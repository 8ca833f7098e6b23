"""One load process: waits for assignments on a pipe, runs each by its executor, reports.

Flow: the parent sends an ``Assignment``; the worker prepares and answers ``Ready``; the parent sends ``Go``; the worker
sends ``Progress`` as it goes and ends with its ``WorkerReport`` in a ``MemberResult``, or with a ``MemberFailure``.
``Abort`` may come at any time. A worker whose parent is gone ends by itself.
"""

from __future__ import annotations

import asyncio
import gc
import os
from multiprocessing.connection import Connection as Pipe
from typing import Any

import uvloop

from rig.engine.bodies import executor_of
from rig.engine.scenario_executor import Assignment, ScenarioExecutor
from rig.errors import RigError
from rig.machine.fleet import Abort, Go, MemberFailure, MemberResult, Progress, Ready, ignore_interrupts
from rig.machine.open_files import describe, raise_limit


def main(pipe: Pipe) -> None:
    """Serve assignments until the pipe closes."""
    ignore_interrupts()
    raise_limit()
    gc.freeze()  # what was imported stays: a collection before and after each scenario run need not look at it again
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while True:
            try:
                message = pipe.recv()
            except (EOFError, OSError):  # the parent is gone
                return
            if isinstance(message, Assignment):
                result = runner.run(_serve(message, pipe))
                try:
                    pipe.send(result)
                except OSError:  # as above
                    return
                del message, result
                gc.collect()


async def _serve(assignment: Assignment, pipe: Pipe) -> MemberResult | MemberFailure:
    loop = asyncio.get_running_loop()
    try:
        executor = executor_of(assignment)(assignment, lambda rows: pipe.send(Progress(rows)))
    except (OSError, RigError) as error:
        return MemberFailure(str(error))
    go: asyncio.Future[int] = loop.create_future()

    def take_message() -> None:
        try:
            message: Any = pipe.recv()
        except (EOFError, OSError):
            # Nobody is left to report to: end here and now, mid-request.
            executor.give_up()
            raise SystemExit(1) from None
        if isinstance(message, Go) and not go.done():
            go.set_result(message.at_ns)
        elif isinstance(message, Abort):
            if not go.done():
                go.cancel()
            executor.abort()

    def fail_run(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        executor.fail(context.get("exception") or RuntimeError(str(context.get("message"))))

    loop.set_exception_handler(fail_run)
    loop.add_reader(pipe.fileno(), take_message)
    # The loop made it non-blocking; between scenario runs it is read by waiting.
    os.set_blocking(pipe.fileno(), True)
    result: MemberResult | MemberFailure
    try:
        await executor.prepare()
        pipe.send(Ready())
        result = MemberResult(await executor.run(await go))
    except asyncio.CancelledError:
        result = MemberFailure("aborted before its start")
    except (OSError, RigError, ArithmeticError, LookupError, MemoryError, TypeError, ValueError, RuntimeError) as error:
        result = MemberFailure(describe(error))
    finally:
        loop.remove_reader(pipe.fileno())
        unwritten = await _close(executor)
    return MemberFailure(unwritten) if unwritten and isinstance(result, MemberResult) else result


async def _close(executor: ScenarioExecutor) -> str:
    """Why what was kept beside the rows cannot be written; empty where it is."""
    try:
        await executor.close()
    except OSError as error:
        return describe(error)
    return ""
