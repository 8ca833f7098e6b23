"""Takes the literals out of SQL, because the query of a session may hold personal data.

It is not a parser: everything that could be a literal or a comment goes, also one that the server cut off.
"""

from __future__ import annotations

import re

_LITERAL = re.compile(
    r"""
      \b[eE]'(?:[^'\\]|''|\\.)*(?:'|\\?$)            # escape string
    | '(?:[^']|'')*(?:'|$)                           # string
    | \$([A-Za-z_]\w*)?\$ .*? (?:\$(?(1)\1|)\$|$)    # dollar-quoted string
    | --[^\n]*                                       # comments
    | /\* .*? (?:\*/|$)
    | (?<![\w$".])\d[\w.]*                           # number, but no parameter and no part of a name
    """,
    re.VERBOSE | re.DOTALL,
)


def without_literals(query: str, most: int = 200) -> str:
    """The query on one line of at most ``most`` characters, each literal a ``?``."""
    bare = _LITERAL.sub(lambda found: " " if found[0].startswith(("--", "/*")) else "?", query)
    line = " ".join(bare.split())
    return line if len(line) <= most else line[: most - 1] + "…"
