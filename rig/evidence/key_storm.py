"""The report of one case of the key storm: frozen values, no I/O.

Flow: ``rig.storms.unknown_kid.storm`` runs a ``KeyCase`` and returns a ``KeyStorm``, which the pack keeps and pure
checkers judge. Times are monotonic nanoseconds unless the name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import pandas as pd

from rig.evidence.incident import Incident
from rig.evidence.key_case import Start
from rig.evidence.storm import REFERENCE
from rig.evidence.verifier_settings import VerifierSettings, VerifierTraits


@dataclass(frozen=True, slots=True)
class Fetch:
    """One fetch as the origin or the recording proxy saw it. ``end_ns`` None: it had not ended when the storm had.

    ``outcome`` is the status, ``malformed``, ``truncated`` or ``aborted``; ``member`` is the process that made it, None
    where that could not be seen.
    """

    start_ns: int
    end_ns: int | None
    outcome: str
    member: int | None = None

    @property
    def is_good(self) -> bool:
        """True when it brought a key set, or the news that the one at hand is the newest."""
        return self.outcome in ("200", "304")


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was done to the fleet or to the origin at an instant."""

    at_ns: int
    what: str
    member: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the subject wrote down about a fetch of its own. It is shown with the origin's count, and not trusted."""

    failures: int
    wait_s: float
    error: str


@dataclass(frozen=True, slots=True)
class Holding:
    """The lock in the database at one instant: which backend held it, and how many waited for it."""

    at_ns: int
    holder: int | None
    waiting: int


@dataclass(frozen=True, slots=True)
class DatabaseConnections:
    """Connections of the fleet to the database: opened since the fleet was started, and the most at one time."""

    opened: int
    most: int


CALL_COLUMNS = ("member", "token", "start_ns", "end_ns", "accepted", "error")
"""One row for each verification: ``token`` as in ``Token`` (``forged`` with its kind and algorithm), ``error`` the
class of the exception, empty if accepted."""


def no_calls() -> pd.DataFrame:
    """An empty table of calls."""
    return pd.DataFrame({column: [] for column in CALL_COLUMNS})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStormSummary:
    """The evidence of one case, without its verifications.

    ``not_run`` says why the case was not run, and ``asked`` whether it was asked for by name. ``missing`` names the
    members without a report. ``early`` are the fetches before the release, and ``before`` is their number. ``fetches``
    and ``proxy_fetches`` are those since, as origin and recording proxy counted them; ``own`` is the subject's own
    count of all (None: it keeps none). ``connections`` is None where the subject has no connection to the rig's
    database. A ``display_only`` storm is shown and not judged; ``note`` says what its subject does. Packs of earlier
    releases may have no ``start``.
    """

    case: str
    story: str
    subject: str = REFERENCE
    without: tuple[str, ...] = ()
    processes: int = 0
    verifier_settings: VerifierSettings = field(default_factory=VerifierSettings)
    gates: tuple[str, ...] = ()
    necessary: int | None = 1
    skew_ns: int | None = None
    released_ns: int = 0
    ended_ns: int = 0
    before: int = 0
    early: tuple[Fetch, ...] = ()
    fetches: tuple[Fetch, ...] = ()
    proxy_fetches: tuple[Fetch, ...] = ()
    own: int | None = None
    decisions: tuple[Decision, ...] = ()
    marks: tuple[Mark, ...] = ()
    holdings: tuple[Holding, ...] = ()
    connections: DatabaseConnections | None = None
    missing: tuple[str, ...] = ()
    incidents: tuple[Incident, ...] = ()
    traits: VerifierTraits = field(default_factory=VerifierTraits)
    not_run: str = ""
    asked: bool = False
    display_only: bool = False
    note: str = ""
    start: Start | None = None

    @property
    def label(self) -> str:
        """Name within a pack, fit for a file name: the case, the subject, what was switched off."""
        subject = "" if self.subject == REFERENCE else f"-{self.subject}"
        off = "".join(f"-without-{name}" for name in self.without)
        return f"{self.case}{subject}{off}".replace(":", "-").replace("/", "-")

    def mark(self, what: str) -> Mark | None:
        """The first mark of that name."""
        return next((mark for mark in self.marks if mark.what == what), None)

    def with_calls(self, calls: pd.DataFrame) -> KeyStorm:
        """The whole evidence."""
        return KeyStorm(**{one.name: getattr(self, one.name) for one in fields(KeyStormSummary)}, calls=calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStorm(KeyStormSummary):
    """The evidence of one case. ``calls`` has one row for each verification (columns: ``CALL_COLUMNS``)."""

    calls: pd.DataFrame = field(default_factory=no_calls)
