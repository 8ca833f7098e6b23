"""What can go wrong, in three lists that never mix.

- ``ExitCode``: what the process says to its caller.
- ``RigError`` and its children: what stopped the rig. The message says what was wrong, where, and what to do;
  the class says how the process ends::

      RigError                     70  a fault of the rig itself
      ├── UsageError               64  the command line asks for something that is not there
      ├── ConfigError              78  a profile, key, file or environment variable is wrong
      ├── Unavailable              69  the target or its database cannot be reached before the first request
      └── EvidenceError             3  what is needed for a verdict is missing or was changed

- ``ErrorKind``: why one request has no proper answer; a number in the history, never free text.

A gate that fails is not an error: it is a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """How the process ends. 1 is about the target alone, 2 about the client's speed alone."""

    PASS = 0
    FAIL = 1
    BELOW_FLOOR = 2
    INVALID = 3
    USAGE = 64
    UNAVAILABLE = 69
    INTERNAL = 70
    CONFIG = 78
    INTERRUPTED = 130


_VERDICTS = (ExitCode.FAIL, ExitCode.BELOW_FLOOR, ExitCode.INVALID)
"""The worst first."""


def worst_exit(codes: Iterable[int]) -> int:
    """The worst exit code of several. One that is no verdict (a fault, a wrong option, an interrupt) is worse than any
    verdict.
    """
    ends = list(codes)
    faults = [code for code in ends if code != ExitCode.PASS and code not in _VERDICTS]
    ranked = [code for code in _VERDICTS if code in ends]
    return int((faults or ranked or [ExitCode.PASS])[0])


class RigError(Exception):
    """The rig cannot go on. ``str(error)`` is one readable sentence or two, with the remedy."""

    exit_code = ExitCode.INTERNAL


class UsageError(RigError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = ExitCode.USAGE


class ConfigError(RigError):
    """A profile, a key in it, a file or an environment variable is wrong."""

    exit_code = ExitCode.CONFIG


class Unavailable(RigError):
    """The target or its database cannot be reached, before anything was sent to it."""

    exit_code = ExitCode.UNAVAILABLE


class EvidenceError(RigError):
    """Evidence is missing, unreadable or was changed: nothing can be claimed from it."""

    exit_code = ExitCode.INVALID


class ErrorKind(IntEnum):
    """Why a request has no proper answer. Stored as one byte; the name is what reports print.

    ``SKIPPED`` and ``CONNECT`` were never on the wire: their outcome is ``not_sent``. All after them were: the outcome
    of ``OTHER_BODY``, which has an answer, is ``refused``; of ``CONTRADICTED`` and ``OTHER_CORRELATION``, whose status
    is right, ``acknowledged``; and that of the others ``indeterminate``.
    """

    NONE = 0
    SKIPPED = 1
    """Not tried: the deadline, a full queue or an interrupt came first."""
    CONNECT = 2
    """No connection could be made."""
    TIMEOUT = 3
    """No whole answer within the request timeout."""
    CONNECTION_LOST = 4
    """The peer closed or reset the connection before the answer was whole."""
    PROTOCOL = 5
    """What came is not HTTP/1.1."""
    TOO_LARGE = 6
    """The answer is larger than the limit."""
    ABORTED = 7
    """The run was interrupted while the request was in flight."""
    OTHER_BODY = 8
    """Answered, but a replay with another body than the first request of its key. The row may exist."""
    STALE_CONNECTION = 9
    """The peer closed the connection, which had been idle for a second, before a byte of an answer came."""
    CONTRADICTED = 10
    """Answered as its class asks, but the body says otherwise."""
    OTHER_CORRELATION = 11
    """Answered as its class asks, but the answer does not carry the correlation id of the request."""
