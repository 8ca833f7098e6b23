"""What is sent, as frozen values that every part of the rig shares. No I/O, no clock, no randomness.

A ``Scenario`` says which requests are sent, in which order, how paced, for which tenants; each request ends in one
``Outcome``. What happened is in ``rig.evidence``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class RequestClass(StrEnum):
    """What kind of request it is; the profile says what a target must answer to each."""

    VALID = "valid"
    REPLAY = "replay"
    MALFORMED = "malformed"
    PERSONAL = "personal"
    INVALID_JSON = "invalid_json"
    CONFLICT = "conflict"
    """The key of another request with another body. It must be refused or ignored."""
    FORGED = "forged"
    """A request that whoever does not know its tenant's secret could send. It must be refused."""


FORGED = RequestClass.FORGED.value
"""The scenario that sends them, too."""


class Forgery(StrEnum):
    """What is wrong with a forged request; everything else in it is right."""

    WRONG_SECRET = "wrong-secret"
    ALTERED_SIGNATURE = "altered-signature"
    TRUNCATED_SIGNATURE = "truncated-signature"
    EMPTY_SIGNATURE = "empty-signature"
    EMPTY_HEADER = "empty-header"
    NO_SIGNATURE = "no-signature"
    OTHER_EVENT = "other-event"
    OTHER_TENANT = "other-tenant"
    OTHER_ROUTE = "other-route"
    OTHER_ALGORITHM = "other-algorithm"
    STALE = "stale"
    FROM_FUTURE = "from-future"
    BODY_SPACE = "body-space"
    BODY_VALUE = "body-value"
    UNKNOWN_TENANT = "unknown-tenant"
    NO_TENANT = "no-tenant"


class ShapeKind(StrEnum):
    """What is unusual in an event of S10."""

    NUMBERS = "numbers"
    TIMES = "times"
    TEXTS = "texts"
    NULLS = "nulls"
    MISSING = "missing"
    EXTRA = "extra"
    NESTING = "nesting"
    ARRAYS = "arrays"
    LARGE = "large"
    WRITING = "writing"
    KEYS = "keys"


class Row(StrEnum):
    """Where the row of a request must lie."""

    CANONICAL = "canonical"
    DEAD = "dead"
    NONE = "none"


Scheme = Literal["none", "token", "hmac", "hmac-sha256-hex", "hmac-sha256-base64", "stripe"]
"""How a request is signed. The last three are whole forms of ``hmac`` (``rig.profile.routes``)."""


class Outcome(StrEnum):
    """How a request ended, and what that says of its row, where its class promises one."""

    ACKNOWLEDGED = "acknowledged"
    """Answered as its class asks. The row must exist."""
    REFUSED = "refused"
    """Answered otherwise. The row may exist."""
    INDETERMINATE = "indeterminate"
    """Sent, without a whole answer: a timeout, a lost connection. The row may exist."""
    NOT_SENT = "not_sent"
    """Skipped by the rig, or no connection could be opened. The row must not exist."""
    UNREPORTED = "unreported"
    """Its worker's report is missing, and the history has no row of it. Its row is never called lost or unexpected."""

    @property
    def code(self) -> int:
        """Its place in the enumeration, from 0: how arrays and SQL hold it."""
        return _CODES[self]


_CODES = {outcome: code for code, outcome in enumerate(Outcome)}


# --- what is sent -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a scenario: ``count`` requests of one class.

    ``one_key`` sends one and the same event again and again (one per tenant); ``source`` is the ``utm_source`` that the
    body carries, and ``channel`` the canonical channel that it must be stored under (None: not checked). ``forgery``:
    what is wrong with forged ones.
    """

    request_class: RequestClass
    count: int
    one_key: bool = False
    source: str | None = None
    channel: str | None = None
    forgery: Forgery | None = None

    @property
    def class_name(self) -> str:
        """Its class in the history: of forged requests with what is wrong with them."""
        return self.request_class.value if self.forgery is None else f"{self.request_class.value}: {self.forgery.value}"


class Arrivals(StrEnum):
    """How the requests of an open loop are spread over time (``rig.engine.pacer``)."""

    CONSTANT = "constant"
    POISSON = "poisson"
    RAMP = "ramp"


@dataclass(frozen=True, slots=True)
class Pace:
    """When requests are sent.

    ``rate_per_s`` None is the closed loop: each of ``connections`` sends its next request when the last was answered.
    Otherwise it is the open loop: requests are due at that rate, answered or not. A ramp climbs to it within
    ``ramp_over_s``.
    """

    connections: int
    rate_per_s: float | None = None
    arrivals: Arrivals = Arrivals.CONSTANT
    ramp_over_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Redelivery:
    """How the sender tries again, as the senders of webhooks do. Delays follow from the seed.

    A failed attempt is followed by the next after ``delays_s[number of failed attempts - 1]``, longer by up to
    ``jitter`` of itself, and never before the answer's ``Retry-After`` allows it. After the last delay the event is
    given up. Of the acknowledged events ``late_share`` are sent once more, up to ``late_s`` later: so they come out of
    order.
    """

    delays_s: tuple[float, ...]
    jitter: float = 0.2
    late_share: float = 0.0
    late_s: float = 3.0

    @property
    def span_s(self) -> float:
        """The longest time from the end of the first attempt to the start of the last, without waits for answers."""
        return sum(self.delays_s) * (1 + self.jitter)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One part of a run: which requests, in which order, how paced, for which tenants.

    ``key_step`` stands for ``step`` in the keys, so that several steps may share one key (the documented composition);
    ``keys_of`` names another scenario whose keys are used again; ``shared_key`` makes a one-key share use the same key
    for every tenant. ``limit_s`` is a gate on the time from the first request to the last answer; ``p95_limit_ms`` one
    on response time. Past ``deadline_s`` nothing is sent. Without ``redelivery`` each event is attempted once.
    """

    id: str
    title: str
    step: int
    route: str
    tenants: tuple[str, ...]
    shares: tuple[Share, ...]
    pace: Pace
    trial: int = 1
    key_step: int | None = None
    keys_of: str = ""
    shared_key: bool = False
    shuffled: bool = False
    timeout_s: float = 10.0
    deadline_s: float = 120.0
    limit_s: float | None = None
    p95_limit_ms: float | None = None
    redelivery: Redelivery | None = None

    @property
    def sends_personal_data(self) -> bool:
        """Whether any of its requests carries some."""
        return any(share.request_class is RequestClass.PERSONAL for share in self.shares)

    @property
    def count(self) -> int:
        """Number of requests offered; with redelivery the number of events."""
        return sum(share.count for share in self.shares)

    @property
    def label(self) -> str:
        """Unique name of the scenario run within a run, fit for a file name."""
        spread = f"-T{len(self.tenants)}" if len(self.tenants) > 2 else ""
        return f"{self.id}-{self.step}-{self.route}{spread}-{self.trial}"


@dataclass(frozen=True, slots=True)
class RequestStream:
    """Endless requests of one class. ``weight`` counts against the other streams of the same user class."""

    request_class: RequestClass
    weight: int = 1
    one_key: bool = False


@dataclass(frozen=True, slots=True)
class UserClass:
    """One kind of user of a locust run: ``weight`` is its share of all users.

    Each of its users takes its next request from the next of ``streams`` (``turns``).
    """

    name: str
    id: str
    title: str
    weight: int
    streams: tuple[RequestStream, ...]

    @property
    def label(self) -> str:
        """What it is called in statistics."""
        return f"{self.id} {self.title}"

    def turns(self) -> tuple[int, ...]:
        """The numbers of the streams in the order in which they take turns, each as often as its weight, spread out."""
        total = sum(stream.weight for stream in self.streams)
        places = [
            ((turn + 0.5) * total / stream.weight, number)
            for number, stream in enumerate(self.streams)
            for turn in range(stream.weight)
        ]
        return tuple(number for _, number in sorted(places))


def tenants_of(scenarios: Sequence[Scenario]) -> tuple[str, ...]:
    """The names of all tenants that some scenarios need, each once, in their order."""
    return tuple(dict.fromkeys(name for scenario in scenarios for name in scenario.tenants))


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant of a run; ``id`` is what its rows carry. Its credentials are kept elsewhere, never in a pack."""

    name: str
    id: str


@dataclass(frozen=True, slots=True)
class RunKey:
    """What every key, body and canary of a run derives from. ``started_unix`` dates the bodies (s)."""

    seed: int
    run_id: str
    started_unix: int
