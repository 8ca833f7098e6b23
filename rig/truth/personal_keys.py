"""Personal keys and columns: names that say that personal data lies there, in any case and spelling. Pure.

``Email``, ``firstName``, ``FIRST_NAME`` and ``e-mail`` are the keys ``email`` and ``first_name``, and so are the last
parts of ``buyer.email`` and ``buyer/firstName``. ``ip_version`` and ``newsletter_email`` are other names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from psycopg import sql

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_JOINT = "[ _-]?"
_PARTS = re.compile(r"[./]")


def fold(name: str) -> str:
    """A name without regard to case, ``_``, ``-`` and spaces."""
    return re.sub("[ _-]", "", name).casefold()


class PersonalKeys:
    """The keys of personal data, and how they are searched for in the text form of JSON and hstore."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._names = frozenset(map(fold, keys))
        words = sorted(map(_words, keys), key=lambda key: -len("".join(key)))
        spelt = [_JOINT.join(map(_spell, key)) for key in words]
        self.pattern = rf'["./]({"|".join(spelt)})\\*"\s*(?::|=>)' if keys else ""
        """For Python and PostgreSQL alike, without regard to case."""
        self._compiled = re.compile(self.pattern, re.IGNORECASE) if keys else None
        ends = {key[-1].lower() for key in words}
        self._needles = [f'{end}"' for end in sorted(ends | ({"mail"} if "email" in ends else set()))]

    def __bool__(self) -> bool:
        return bool(self._names)

    def find_personal(self, name: str) -> str:
        """The name, or its last part, if it is one of them; else ""."""
        return next((part for part in (name, _PARTS.split(name)[-1]) if fold(part) in self._names), "")

    def find_in(self, text: str) -> Iterator[str]:
        """The keys that a text contains as keys, also in JSON quoted within JSON."""
        if self._compiled is not None:
            yield from dict.fromkeys(self._compiled.findall(text))

    def suspicious(self, lowered: sql.Composable) -> sql.Composed:
        """SQL that is true for a text in lower case and without backslashes that contains one of them as a key."""
        if not self:
            return sql.SQL("false").format()
        needles = sql.SQL(" OR ").join(
            sql.SQL("strpos({}, {}) > 0").format(lowered, sql.Literal(end)) for end in self._needles
        )
        return sql.SQL("CASE WHEN {} THEN {} ~ {} ELSE false END").format(
            needles, lowered, sql.Literal(self.pattern.lower())
        )


def _words(key: str) -> list[str]:
    """``first_name`` and ``firstName`` as two words; a name with other characters as it is."""
    return _WORD.findall(key) if re.fullmatch("[A-Za-z0-9_ -]+", key) else [key]


def _spell(word: str) -> str:
    spelt = re.escape(word)
    return f"e{_JOINT}mail" if word.lower() == "email" else spelt
