"""A wake-up at an absolute time by a Linux timerfd. It is finer than an event loop's timers, which round to 1 ms.

Where there is no timerfd the loop's own timer is used. A stub then waits longer, and its answers say so.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_NS = 1_000_000_000


class Wakeup:
    """Calls ``callback`` at times of the monotonic clock, one at a time; a new time replaces the one before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._libc = ctypes.CDLL(None, use_errno=True)
        create = getattr(self._libc, "timerfd_create", None)
        self._fd: int = create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC) if create else -1
        if self._fd >= 0:
            loop.add_reader(self._fd, self._on_timer)

    def at(self, when_ns: int) -> None:
        """Wake at ``when_ns``, at once where that time has passed."""
        if self._fd < 0:
            self._loop.call_later(max(0.0, (when_ns - time.monotonic_ns()) / _NS), self._callback)
            return
        # Interval (none), then value, each as seconds and nanoseconds; a value of zero would disarm.
        spec = (ctypes.c_long * 4)(0, 0, *divmod(max(when_ns, 1), _NS))
        if self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _on_timer(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # replaced by a later time between the wake-up and here
            return
        self._callback()
