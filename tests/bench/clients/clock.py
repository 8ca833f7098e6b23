"""What a client in Python measures of itself: its loop alone."""

from __future__ import annotations

import json
import resource
import sys
import time


class Clock:
    """Starts when it is made."""

    def __init__(self, seconds: float) -> None:
        self._requests = 0
        self._cpu_s = _cpu_s()
        self._begun = time.monotonic()
        self._until = self._begun + seconds

    def running(self) -> bool:
        """False when the time is over."""
        return time.monotonic() < self._until

    def count(self) -> None:
        """One request was answered."""
        self._requests += 1

    def report(self, **more: float) -> None:
        """Print the figures, and ``more``, as one JSON line."""
        figures = {
            "requests": self._requests,
            "elapsed_s": time.monotonic() - self._begun,
            "cpu_s": _cpu_s() - self._cpu_s,
            **more,
        }
        sys.stdout.write(json.dumps(figures) + "\n")


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
