"""What a storm of unknown key ids is, and what it leaves behind: frozen values, no I/O.

Flow: a ``KeyCase`` says what is done to a fleet and an origin, ``VerifierSettings`` what the subject was told to keep
to; ``rig.storms.unknown_kid.storm`` does it and leaves a ``KeyStorm``, which the pack keeps and pure checkers judge.
Times are monotonic nanoseconds unless the name says otherwise; seconds in a case count from the release of the fleet.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum

import pandas as pd

from rig.evidence.storm import REFERENCE
from rig.evidence.verifier_settings import VerifierSettings

_SHORTEST_S = 20.0
"""No storm is cut before that."""


class Token(StrEnum):
    """The kinds of tokens, by what must come of them."""

    KNOWN = "known"
    """Signed by a key that every process has seen: accepted."""
    ROTATED = "rotated"
    """Signed by a key that joins the set during the storm: accepted, sooner or later."""
    UNKNOWN = "unknown"
    """Its key id is in no set: refused."""
    FORGED = "forged"
    """Names a known key but was signed by another: refused."""


class Start(StrEnum):
    """What every process and the shared cache know when the fleet is released."""

    COLD = "cold"
    """Nothing was ever fetched."""
    SETTLED = "settled"
    """Each has verified a known token, and the last fetch ended longer ago than a floor."""
    EXPIRED = "expired"
    """As settled, and it ended longer ago than the TTL."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One thread of every process: tokens of one kind, one call after the other.

    ``count`` calls (None: the case's ``key_ids``; 0: as many as fit before ``until_s``), a call at most every
    ``pace_s``. With ``beside`` it goes on until the process's other lanes are through. An ``UNKNOWN`` lane has a forged
    token among every 20.
    """

    token: Token
    count: int | None = 0
    pace_s: float = 0.0
    from_s: float = 0.0
    until_s: float = 60.0
    beside: bool = False


@dataclass(frozen=True, slots=True)
class OriginChange:
    """An order to the origin, ``at_s`` after the release (0: in force before it).

    ``rotated`` serves the set with the new key in it.
    """

    at_s: float
    mode: str | None = None
    delay_s: float | None = None
    rotated: bool | None = None


class LeaderFault(StrEnum):
    """What is done to the process whose fetch the origin sees first."""

    KILL = "kill"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class KeyCase:
    """One case: its start state, what the origin does, what the fleet asks, and what the fleet is held to.

    ``necessary`` is how many fetches one all-knowing process would have made, or None where as many as the floor leaves
    room for are fair (as they are where the storm outlasts the floor). ``gates`` are the names of the gates that it is
    judged by.
    """

    name: str
    story: str
    lanes: tuple[Lane, ...]
    gates: tuple[str, ...]
    start: Start = Start.SETTLED
    origin: tuple[OriginChange, ...] = ()
    verifier_settings: VerifierSettings = field(default_factory=VerifierSettings)
    necessary: int | None = 1
    leader_fault: LeaderFault | None = None
    leader_fault_after_s: float = 0.1
    pooled: bool = False

    @property
    def duration_s(self) -> float:
        """Bounds the storm: until the last of its lanes has ended, which is late where the floor is long."""
        return max([_SHORTEST_S, *(lane.until_s for lane in self.lanes)])


@dataclass(frozen=True, slots=True)
class Fetch:
    """One fetch as the origin (or the tee before it) saw it. ``end_ns`` None: it had not ended when the storm had.

    ``outcome`` is the status, ``malformed``, ``truncated`` or ``aborted``; ``member`` the process that made it, where
    that could be seen.
    """

    start_ns: int
    end_ns: int | None
    outcome: str
    member: int | None = None

    @property
    def good(self) -> bool:
        """True when it brought a key set."""
        return self.outcome == "200"


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was done to the fleet or to the origin at an instant."""

    at_ns: int
    what: str
    member: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the subject wrote down of a fetch of its own: never trusted alone, shown beside the origin's count."""

    failures: int
    wait_s: float
    error: str


@dataclass(frozen=True, slots=True)
class Holding:
    """One look into the database: which backend held the lock, how many waited for it."""

    at_ns: int
    holder: int | None
    waiting: int


@dataclass(frozen=True, slots=True)
class Door:
    """Connections of the fleet to the database: opened since the fleet was started, and the most at one time."""

    opened: int
    most: int


CALL_COLUMNS = ("member", "token", "start_ns", "end_ns", "accepted", "error")
"""One row a verification: ``token`` as in ``Token``, ``error`` the class of what was raised, empty when accepted."""


def no_calls() -> pd.DataFrame:
    """An empty table of calls."""
    return pd.DataFrame({column: [] for column in CALL_COLUMNS})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStormSummary:
    """The evidence of one case, without its verifications.

    ``not_run`` says why nothing was tried (``asked``: though the case was asked for by name), ``missing`` names the
    members without a report. ``before`` counts the fetches before the release; ``fetches`` and ``tee`` are those since,
    as two processes counted them, ``own`` is how many the processes said they made in all (None: they keep no count).
    ``door`` is None where the subject has no connection to the rig's database. An ``exhibit`` is shown beside others
    and not judged; ``note`` says what its subject does. ``start`` is None in packs that were made before it was kept.
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
    fetches: tuple[Fetch, ...] = ()
    tee: tuple[Fetch, ...] = ()
    own: int | None = None
    decisions: tuple[Decision, ...] = ()
    marks: tuple[Mark, ...] = ()
    holdings: tuple[Holding, ...] = ()
    door: Door | None = None
    missing: tuple[str, ...] = ()
    not_run: str = ""
    asked: bool = False
    exhibit: bool = False
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
    """The evidence of one case. ``calls`` has one row a verification (columns: ``CALL_COLUMNS``)."""

    calls: pd.DataFrame = field(default_factory=no_calls)
