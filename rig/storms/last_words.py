"""Which line of what a program wrote says why it ended: the one that names the error, not the last line of a stack."""

from __future__ import annotations

import re
from collections.abc import Iterable

KEPT_LINES = 40
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STACK = re.compile(r"\s|at |File |Traceback |Node\.js v|npm |\(Background on this error|\[SQL: |[\^~-]+$|[{})\]]")
"""How lines begin that belong to an error and do not name it."""
_CLASS_ALONE = re.compile(r"[\w.$]+:?$")
_KEY = re.compile(r"\s+\[?\w+\]?:\s+")
"""How a line within an object that is written out begins: ``original:``, ``[cause]:``."""
_NAMES_ERROR = re.compile(
    r"""(?:Uncaught\ |Unhandled\ )?
        (?:[\w.$]*(?:Error|Exception)|[a-z_]\w*(?:\.\w+)+(?=:)|error|ERROR|FATAL|fatal|panic|PANIC|Aborted)
        \b[^:]{0,80}(?::|$)
        |.*\b(?:ERROR|FATAL|CRITICAL|error)\b[\]:|]""",
    re.VERBOSE,
)


def last_lines_of(*outputs: str) -> tuple[str, ...]:
    """The last lines of each output, without colours and blank lines; before them the one that names the error."""
    return tuple(line for output in outputs for line in _last_lines(output))


def _last_lines(output: str) -> list[str]:
    lines = [line.rstrip() for line in _COLOUR.sub("", output).splitlines() if line.strip()]
    kept, named = lines[-KEPT_LINES:], _find_error_lines(lines)[-1:]
    return kept if not named or named[0] in kept else [*named, *kept]


def error_line(lines: Iterable[str]) -> str:
    """The last line that names an error.

    Where there is none that says more than its class, one within an object that is written out; then that class, the
    last line that belongs to no stack, or the last of all.
    """
    written = list(lines)
    whole = [line for line in written if not _STACK.match(line)]
    within = [inner for line in written if (inner := _KEY.sub("", line)) != line and _NAMES_ERROR.match(inner)]
    classes = [line for line in whole if _NAMES_ERROR.match(line)]
    return (_find_error_lines(written) or _find_telling(within) or classes or whole or written or [""])[-1].strip()


def _find_error_lines(lines: Iterable[str]) -> list[str]:
    """The lines that name an error, of no stack and with a message."""
    return _find_telling(line for line in lines if not _STACK.match(line) and _NAMES_ERROR.match(line))


def _find_telling(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if not _CLASS_ALONE.match(line)]
