"""Which line of what a program wrote says why it ended: the one that names the error, not the last line of a stack."""

from __future__ import annotations

import re
from collections.abc import Iterable

KEPT_LINES = 40
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STACK = re.compile(r"\s|at |File |Traceback |Node\.js v|npm |\(Background on this error|\[SQL: |[\^~-]+$|[{})\]]")
"""How lines begin that belong to an error and do not name it."""
_NAMES_ERROR = re.compile(
    r"""(?:Uncaught\ |Unhandled\ )?
        (?:[\w.$]*(?:Error|Exception)|[a-z_]\w*(?:\.\w+)+(?=:)|error|ERROR|FATAL|fatal|panic|PANIC|Aborted)
        \b[^:]{0,80}(?::|$)
        |.*\b(?:ERROR|FATAL|CRITICAL|error)\b[\]:|]""",
    re.VERBOSE,
)


def last_lines_of(*outputs: str) -> tuple[str, ...]:
    """The last lines of each output, without colours and blank lines."""
    return tuple(
        line.rstrip()
        for output in outputs
        for line in _COLOUR.sub("", output).splitlines()[-KEPT_LINES:]
        if line.strip()
    )


def error_line(lines: Iterable[str]) -> str:
    """The last line that names an error; where there is none, the last that belongs to no stack; else the last."""
    written = list(lines)
    whole = [line for line in written if not _STACK.match(line)]
    named = [line for line in whole if _NAMES_ERROR.match(line)]
    return (named or whole or written or [""])[-1].strip()
