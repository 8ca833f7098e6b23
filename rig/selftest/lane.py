"""A lane of a proof: a process that works beside this one.

Flow::

    with Lane(prove_storms, job, …) as lane:
        …                    # alone on the machine
        lane.begin()
        …                    # both at once
        proof = lane.finish()

It ends with its context, whatever it is at, and by itself when this process dies. A supervisor of its own then ends
what it started.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from typing import Generic, Self, TypeVar

from rig.errors import RigError
from rig.machine.fleet import ignore_interrupts

T = TypeVar("T")


class Lane(Generic[T]):
    """``work(*arguments)`` in a process of its own; all of it can be pickled."""

    def __init__(self, work: Callable[..., T], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, self._theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(self._theirs, work, arguments))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._theirs.close()
        self._ours.close()
        if self._process.pid is not None:
            self._process.join()

    def begin(self) -> None:
        """Let it work, unless it does already."""
        if self._process.pid is None:
            self._process.start()
            self._theirs.close()

    def finish(self) -> T:
        """What the work returns; its RigError is raised here. RigError where its process died."""
        self.begin()
        try:
            result: T | RigError = self._ours.recv()
        except (EOFError, OSError):
            raise RigError("a process of the proof died; run it again") from None
        if isinstance(result, RigError):
            raise result
        return result


def _main(pipe: Pipe, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    ignore_interrupts()
    # It stays until it is told to end: one that has ended and was not waited for would look like a process left behind.
    end = threading.Thread(target=_end_with, args=(pipe,), daemon=True)
    end.start()
    try:
        pipe.send(work(*arguments))
    except RigError as error:
        pipe.send(error)
    end.join()


def _end_with(pipe: Pipe) -> None:
    try:
        pipe.recv()
    except (EOFError, OSError):
        os._exit(0)
