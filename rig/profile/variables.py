"""What a profile leaves open: words in braces, and secrets, of which it holds only the variables' names."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Mapping
from string import Formatter

from psycopg.conninfo import conninfo_to_dict

from rig.errors import ConfigError
from rig.machine import libpq
from rig.text import is_encodable


def secret_from(environ: Mapping[str, str], variable: str, purpose: str) -> str:
    """The value of an environment variable that must be set; ConfigError says what it is for."""
    value = environ.get(variable)
    if not value or value.isspace():
        raise ConfigError(f"environment variable {variable} is not set; it must hold {purpose}")
    if not is_encodable(value):
        raise ConfigError(f"environment variable {variable} has bytes that are no text in UTF-8; it holds {purpose}")
    return value


def environment() -> Mapping[str, str]:
    """The environment as the user gave it: the one place that this package takes secrets from."""
    return ChainMap(os.environ, libpq.withdrawn)


_PARTS = {"dsn": "", "host": "host", "port": "port", "user": "user", "password": "password", "database": "dbname"}
"""What is known of a role's database, by the ending of its word, with libpq's name of the part."""
ROLES = ("admin", "runtime")
SECRET_WORDS = tuple(f"{role}_{part}" for part in _PARTS for role in ROLES)
"""Words of ``launch.env`` alone, since some hold passwords. JDBC, ODBC and .NET take no DSN and need its parts."""


def words_of_dsns(admin_dsn: str, runtime_dsn: str) -> dict[str, str]:
    """What ``SECRET_WORDS`` mean. A part that a DSN leaves out is empty."""
    words: dict[str, str] = {}
    for role, dsn in zip(ROLES, (admin_dsn, runtime_dsn), strict=True):
        own = conninfo_to_dict(dsn)
        words |= {f"{role}_{part}": str(own.get(name) or "") if name else dsn for part, name in _PARTS.items()}
    return words


def fill_in(text: str, words: Mapping[str, str], key: str) -> str:
    """The text with its ``{words}`` filled in; ConfigError names the ``key`` and what is known, never a value.

    Not ``str.format``: ``{port:>9999999999}`` would take all memory, and ``{port.real}`` would not be refused.
    """
    unknown: list[str] = []
    try:
        pieces = [*Formatter().parse(text)]
        written = [(plain, word and f"{word}{conversion or ''}{form}") for plain, word, form, conversion in pieces]
        unknown += [word for _, word in written if word is not None and word not in words]
        if not unknown:
            return "".join(plain + (words[word] if word is not None else "") for plain, word in written)
        what = f"has the unknown word {unknown[0]!r}"
    except ValueError as error:
        what = f"cannot be filled in ({error})"
    known = ", ".join(f"{{{word}}}" for word in words)
    other = (
        "other users see command lines: give the DSN by a variable of [launch.env]"
        if unknown and unknown[0] in SECRET_WORDS
        else "a brace of its own is written twice"
    )
    raise ConfigError(f"profile key {key}: {text!r} {what}; known are {known}; {other}")
