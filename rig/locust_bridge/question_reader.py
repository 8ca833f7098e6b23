"""The coordinator's end of its line to the master: questions as they come, and the end of it, whenever that comes.

Flow: a thread reads standard input. The main thread takes one question after the other. When the input closes, the
master is gone: work that only the master needs is interrupted.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue


class QuestionReader:
    """Lines of standard input, until it closes. Made once, in the main thread: it takes SIGUSR1 for itself."""

    def __init__(self) -> None:
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._closed = threading.Event()
        self._is_for_master = False
        signal.signal(signal.SIGUSR1, self._interrupt)
        threading.Thread(target=self._read, name="questions", daemon=True).start()

    def __iter__(self) -> Iterator[str]:
        while (line := self._lines.get()) is not None:
            yield line

    @contextmanager
    def for_master(self) -> Iterator[None]:
        """Work that nobody needs without a master: KeyboardInterrupt in it, as soon as the input is closed."""
        self._is_for_master = True
        try:
            if self._closed.is_set():
                raise KeyboardInterrupt
            yield
        finally:
            self._is_for_master = False

    def _read(self) -> None:
        with open(0, encoding="utf-8", closefd=False) as lines:
            for line in lines:
                self._lines.put(line)
        self._closed.set()
        self._lines.put(None)
        os.kill(os.getpid(), signal.SIGUSR1)

    def _interrupt(self, *_: object) -> None:
        if self._is_for_master:
            raise KeyboardInterrupt
