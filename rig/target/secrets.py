"""The secrets of a run, and how they are kept out of what it leaves.

Flow: what the environment and the database's doors hold is learned before anybody is started (``learn_from``), and
whoever makes a secret tells it (``learn``, ``learn_dsn``); what the rig is about to say of others' words
goes through ``blanked``; at the end ``clean`` goes through the log files of the pack, which the target, PostgreSQL and
what the storms started wrote, and blanks what they said. Nothing else in a pack may ever hold one: tests search whole
packs for that.

Not a net for secrets that nobody told: the environment may hold more than the profile speaks of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from rig.errors import EvidenceError
from rig.profile import Profile
from rig.target.store import Store

BLANK = "[secret of this run]"
_LEAST_LENGTH = 6
"""A shorter one stands in too much that is no secret, and is none that anybody would guard."""
_PART = ".being-blanked"


class Secrets:
    """What one run knows and must not tell."""

    def __init__(self) -> None:
        self._forms: set[str] = set()

    def learn_from(self, profile: Profile, environ: Mapping[str, str], store: Store | None = None) -> None:
        """Remember what the variables that a profile names hold, set or not, and the passwords of its database.

        To be called before anybody is started who inherits the environment: he may tell it, and die of whatever ails
        him before anything else needs these values.
        """
        named = [*(route.secret_env for route in profile.routes), *(one.api_key_env for one in profile.tenants.fixed)]
        self.learn(*(environ.get(variable, "") for variable in named if variable))
        doors = [environ.get(profile.truth.dsn_env), environ.get(profile.truth.runtime_dsn_env)]
        for dsn in (*doors, *((store.truth_dsn, store.runtime_dsn) if store else ())):
            self.learn_dsn(dsn)

    def learn(self, *values: str) -> None:
        """Remember values, also as they stand in a URL."""
        for value in values:
            if len(value) >= _LEAST_LENGTH:
                self._forms |= {value, quote(value, safe="")}

    def learn_dsn(self, dsn: str | None) -> None:
        """Remember the password of a DSN; one that is no DSN is remembered whole."""
        if not dsn:
            return
        try:
            self.learn(str(conninfo_to_dict(dsn).get("password") or ""))
        except psycopg.ProgrammingError:
            self.learn(dsn)

    def blank(self, text: str) -> str:
        """The text without them."""
        pattern = self._pattern()
        return (
            text
            if pattern is None
            else pattern.sub(BLANK.encode(), text.encode(errors="surrogateescape")).decode(errors="surrogateescape")
        )

    def clean(self, folder: Path) -> dict[str, int]:
        """Blank them in every file below a folder; how many stood in which (by relative name).

        Line by line, for a log may be large. EvidenceError when a file cannot be written again.
        """
        pattern = self._pattern()
        found: dict[str, int] = {}
        if pattern is None or not folder.is_dir():
            return found
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            try:
                if count := _blank_file(path, pattern):
                    found[path.relative_to(folder).as_posix()] = count
            except OSError as error:
                raise EvidenceError(f"{path} cannot be searched for secrets: {error}") from None
        return found

    def _pattern(self) -> re.Pattern[bytes] | None:
        if not self._forms:
            return None
        # The longest first: one may be the beginning of another.
        longest_first = sorted((form.encode() for form in self._forms), key=len, reverse=True)
        return re.compile(b"|".join(map(re.escape, longest_first)))


def _blank_file(path: Path, pattern: re.Pattern[bytes]) -> int:
    """Blank one file; it is written again only where something was found."""
    with path.open("rb") as file:
        count = sum(len(pattern.findall(line)) for line in file)
    if count:
        part = path.with_name(path.name + _PART)
        with path.open("rb") as source, part.open("wb") as target:
            for line in source:
                target.write(pattern.sub(BLANK.encode(), line))
        part.chmod(path.stat().st_mode & 0o777)
        part.replace(path)
    return count
