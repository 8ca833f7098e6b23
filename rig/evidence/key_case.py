"""A case of the key storm: what its clients ask, and what is done to the fleet and to the origin. Frozen values.

Seconds count from the release of the fleet. Members of a fleet import this module: it imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from rig.evidence.verifier_settings import VerifierSettings

_SHORTEST_S = 20.0
"""A storm has at least so long before it is cut off."""


class Token(StrEnum):
    """The kinds of tokens, by what must come of them."""

    KNOWN = "known"
    """Signed by a key that every process has seen: accepted."""
    ROTATED = "rotated"
    """Signed by a key that joins the set during the storm: accepted, sooner or later."""
    UNKNOWN = "unknown"
    """Its key id is in no set: refused."""
    WITHDRAWN = "withdrawn"
    """Signed by a key that leaves the set during the storm: accepted, and refused once the keys have expired."""
    LAPSED = "lapsed"
    """Its time ends during the storm. ``valid``, ``new`` or ``seen`` follows: sent before its end; sent after it for
    the first time; sent after it, and accepted before."""
    UNNAMED = "unnamed"
    """Valid, but without a key id, which RFC 7515 leaves to the signer: accepted or refused, as the verifier says."""
    FORGED = "forged"
    """Forged in one of the ways of ``rig.evidence.bad_tokens``: refused."""

    @classmethod
    def of(cls, call: str) -> Token:
        """The kind of a token in a table of calls, where more may follow its first word."""
        return cls(call.partition(" ")[0])


class Start(StrEnum):
    """What every process and the shared cache know when the fleet is released."""

    COLD = "cold"
    """Nothing was ever fetched."""
    CACHED = "cached"
    """Each has verified a known token, and the cool-down of the last fetch is over."""
    EXPIRED = "expired"
    """As cached, and the TTL of the keys is over, too."""

    @classmethod
    def _missing_(cls, value: object) -> Start | None:
        """``settled`` is what earlier releases wrote for ``cached``."""
        return cls.CACHED if value == "settled" else None


@dataclass(frozen=True, slots=True)
class TokenClient:
    """One thread of every process that hands tokens of one kind to the verifier, one after the other.

    It makes ``count`` calls (None: the storm's ``key_ids``; 0: as many as fit before ``until_s``), one every ``pace_s``
    at most. A ``background`` client goes on until the other clients of its process have ended. Every twentieth token of
    an ``UNKNOWN`` client is a forged one. A ``FORGED`` client sends each forged token once.
    """

    token: Token
    count: int | None = 0
    pace_s: float = 0.0
    from_s: float = 0.0
    until_s: float = 60.0
    background: bool = False


@dataclass(frozen=True, slots=True)
class OriginChange:
    """A change of what the origin does, ``at_s`` after the release (0: before it).

    ``rotated`` serves the set with the new key in it; false takes that key out again.
    """

    at_s: float
    mode: str | None = None
    delay_s: float | None = None
    rotated: bool | None = None


class LeaderFault(StrEnum):
    """What is done to the leader: the process whose fetch the origin sees first."""

    KILL = "kill"
    STOP = "stop"


class StoreFault(StrEnum):
    """What is done to the database in which the fleet shares its keys."""

    CUT = "cut"
    """Connections are reset, new ones too."""
    HOLD = "hold"
    """It stands still: no byte passes, and nothing is closed."""
    READ_ONLY = "read-only"
    """Sessions are ended, and new ones cannot write: a standby after a failover."""


@dataclass(frozen=True, slots=True)
class KeyCase:
    """One case: its start state, what the origin does, what the clients ask, and what the fleet must keep to.

    ``necessary`` is how many fetches one all-knowing process would make; 0: none, though each cool-down allows one.
    None: as many as the cool-down allows in the time that the storm takes. ``gates`` are the names of the gates that
    judge it.
    """

    name: str
    story: str
    clients: tuple[TokenClient, ...]
    gates: tuple[str, ...]
    start: Start = Start.CACHED
    origin: tuple[OriginChange, ...] = ()
    verifier_settings: VerifierSettings = field(default_factory=VerifierSettings)
    necessary: int | None = 1
    leader_fault: LeaderFault | None = None
    leader_fault_after_s: float = 0.1
    pooled: bool = False
    store_fault: StoreFault | None = None
    store_fault_s: tuple[float, float] = (0.0, 0.0)
    """From when to when the fault lasts."""

    def asks(self, token: Token) -> bool:
        """Whether a client sends tokens of that kind."""
        return any(client.token is token for client in self.clients)

    @property
    def duration_s(self) -> float:
        """How long the storm may take: until the last of its clients must have ended."""
        return max([_SHORTEST_S, *(client.until_s for client in self.clients)])
