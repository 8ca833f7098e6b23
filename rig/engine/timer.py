"""A wake-up finer than the event loop's: libuv and epoll round timers to a millisecond, a timerfd does not.

Where the platform has no timerfd, the loop's own timer stands in and schedule lag shows it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_TFD_TIMER_ABSTIME = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class Timer:
    """Calls ``callback`` at absolute monotonic times, one at a time; a new time replaces the one before."""

    callback: Callable[[], None]

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)
        create = getattr(self._libc, "timerfd_create", None)
        self._fd = create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC) if create else -1
        self._spec = _Itimerspec()
        if self._fd >= 0:
            loop.add_reader(self._fd, self._fire)

    def at(self, when_ns: int) -> None:
        """Wake at ``when_ns`` of the monotonic clock, at once if that is past."""
        if self._fd < 0:
            if self._handle is not None:
                self._handle.cancel()
            delay_s = max(0.0, (when_ns - time.monotonic_ns()) / 1e9)
            self._handle = self._loop.call_later(delay_s, self.callback)
            return
        value = self._spec.it_value
        # A zero value would disarm the timer.
        value.tv_sec, value.tv_nsec = divmod(max(when_ns, 1), 1_000_000_000)
        if self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def close(self) -> None:
        """Disarm and release."""
        if self._handle is not None:
            self._handle.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _fire(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # replaced by a later time between wake-up and here
            return
        self.callback()
