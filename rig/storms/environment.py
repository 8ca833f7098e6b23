"""What a storm needs: a PostgreSQL server, the profile, and the pack's folders for its ledger and logs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from rig.machine import libpq
from rig.profile import Profile
from rig.profile.variables import fill_in, words_of_dsns
from rig.target.postgres import Cluster, Database
from rig.target.secrets import Secrets

WITHOUT = "{without}"
"""In a command of a profile: becomes ``--without NAME`` for each protection that is switched off."""


@dataclass(frozen=True, slots=True)
class StormOptions:
    """How a storm is asked for: its processes, the protections that are switched off, and its cases (none: all).

    The rest is for ``unknown-kid`` alone: ``subject`` is tested instead of the profile's, with so many ``key_ids`` a
    process. ``libraries`` is a folder where a factory finds its own.
    """

    processes: int | None = None
    without: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    subject: str = ""
    key_ids: int = 200
    libraries: str = ""


@dataclass(frozen=True, slots=True)
class StormEnvironment:
    """What the storms of one run need. ``folder`` is the pack's; they write below its ``ledger`` and ``logs`` only."""

    cluster: Cluster
    profile: Profile
    profile_dir: Path
    environ: Mapping[str, str] = field(repr=False)
    folder: Path
    allowed_host: str | None = None
    """The one host besides loopback that a storm may send to: the profile and the command line name it."""
    secrets: Secrets = field(default_factory=Secrets, repr=False)
    """The run's secrets, to which a storm adds its own."""
    seed: int = 1
    """The run's; what a storm draws by lot follows from it."""

    @contextmanager
    def database(self, name: str) -> Iterator[Database]:
        """A database of the storm's own, dropped at the end; RigError as ``Cluster.create_database``."""
        database = self.cluster.create_database(name)
        try:
            self.secrets.learn_dsn(database.admin_dsn)
            self.secrets.learn_dsn(database.runtime_dsn)
            yield database
        finally:
            self.cluster.drop_database(database)

    def keep(self, label: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a ledger into the pack, one JSON object a line."""
        path = self.folder / "ledger" / f"{label}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), encoding="utf-8")

    def log_file(self, name: str) -> Path:
        """The file for the output of a process that a storm starts."""
        path = self.folder / "logs" / f"{name}.log"
        path.parent.mkdir(exist_ok=True)
        return path

    def command(self, template: Sequence[str], key: str, without: Sequence[str] = (), **words: str) -> list[str]:
        """A command with its words filled in, and ``{without}`` replaced by options; ConfigError names the key."""
        known = {"python": sys.executable, "profile_dir": str(self.profile_dir), **words}
        switches = [word for name in without for word in ("--without", name)]
        replaced = [switches if part == WITHOUT else [fill_in(part, known, key)] for part in template]
        return list(chain.from_iterable(replaced))

    def environment(self, template: Mapping[str, str], key: str, database: Database, **more: str) -> dict[str, str]:
        """The environment of a replica: the rig's own, ``more``, and ``template`` with the DSNs filled in."""
        words = words_of_dsns(database.admin_dsn, database.runtime_dsn)
        own = {name: fill_in(value, words, key) for name, value in template.items()}
        return {**libpq.without(self.environ, is_plain=self.cluster.control is not None), **more, **own}
