"""The secrets of a run, and how they are kept out of what it leaves.

Flow: secrets in the environment and in the database's DSNs are learned before any process is started (``learn_from``).
Code that makes a secret passes it to ``learn`` or ``learn_dsn``. Text that may quote other programs goes through
``blank`` before the rig shows it. At the end ``clean`` blanks the secrets in the log files of the pack, which the
target, PostgreSQL and the storms' processes wrote. Nothing else in a pack may ever hold a secret: tests search whole
packs for that.

It does not find secrets that it was never given: the environment may hold more than the profile names.
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
"""A shorter one would occur in much text that is no secret."""
_PART = ".being-blanked"


class Secrets:
    """The secrets that one run knows and must not show."""

    def __init__(self) -> None:
        self._forms: set[str] = set()

    def learn_from(self, profile: Profile, environ: Mapping[str, str], store: Store | None = None) -> None:
        """Remember the values of the variables that a profile names, and the passwords of its database.

        Call it before a process is started that inherits the environment: it may write a value to its log and end
        before anything else needs that value.
        """
        named = [variable for route in profile.routes for variable in (route.secret_env, route.old_secret_env)]
        named += [tenant.api_key_env for tenant in profile.tenants.fixed]
        self.learn(*(environ.get(variable, "") for variable in named if variable))
        dsns = [environ.get(profile.truth.dsn_env), environ.get(profile.truth.runtime_dsn_env)]
        for dsn in (*dsns, *((store.truth_dsn, store.runtime_dsn) if store else ())):
            self.learn_dsn(dsn)

    def learn(self, *values: str) -> None:
        """Remember values, also in the form that they have in a URL."""
        for value in values:
            if len(value) >= _LEAST_LENGTH:
                self._forms |= {value, quote(value, safe="", errors="surrogateescape")}

    def learn_dsn(self, dsn: str | None) -> None:
        """Remember the password of a DSN. What cannot be parsed as a DSN is remembered whole."""
        if not dsn:
            return
        try:
            self.learn(str(conninfo_to_dict(dsn).get("password") or ""))
        except (psycopg.ProgrammingError, UnicodeEncodeError):
            self.learn(dsn)

    def blank(self, text: str) -> str:
        """The text with every secret replaced by ``BLANK``."""
        pattern = self._pattern()
        return (
            text
            if pattern is None
            else pattern.sub(BLANK.encode(), text.encode(errors="surrogateescape")).decode(errors="surrogateescape")
        )

    def clean(self, folder: Path) -> dict[str, int]:
        """Blank the secrets in every file below a folder; how many were found in each (by relative name).

        It works line by line because a log may be large. EvidenceError when a file cannot be written again.
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
        # The longest first, because one may be the beginning of another.
        longest_first = sorted((form.encode(errors="surrogateescape") for form in self._forms), key=len, reverse=True)
        return re.compile(b"|".join(map(re.escape, longest_first)))


def _blank_file(path: Path, pattern: re.Pattern[bytes]) -> int:
    """Blank one file. It is written again only where a secret was found."""
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
