"""What came of S10 as a pack holds it: every shaped event, and what failed, shrunk. Frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rig.model import Scenario

S10 = "S10"
"""The scenario that sends events of many shapes."""


class ShapeOutcome(StrEnum):
    """What became of a shaped event."""

    STORED = "stored"
    """Accepted, and its row holds it as far as that is compared."""
    SET_ASIDE = "set aside"
    """Accepted, and a dead letter came of it."""
    REFUSED = "refused"
    """Answered 4xx, or as accepted with a body that says otherwise."""
    IGNORED = "ignored"
    """Accepted without a row, and something was missing in it, so that it may be none of the service's."""
    HELD_OFF = "held off"
    """Answered 408 or 429: it came too soon."""
    UNSEEN = "unseen"
    """Accepted, and nothing shows whether it was stored: dead letters name no request."""
    ERROR = "error"
    """Answered neither 2xx nor 4xx."""
    DISBELIEVED = "disbelieved"
    """Answered 401 although it is signed: the signature is checked over another text than the body that was sent."""
    NO_ANSWER = "no answer"
    LOST = "lost"
    """Accepted, in no table."""
    DOUBLED = "doubled"
    KEPT = "kept"
    """Refused, and its row is there all the same: who sent it believes that it is not."""
    EARLY = "early"
    """Accepted while no row of it could be written."""
    ALTERED = "altered"
    MERGED = "merged"
    """Taken for the event of another key, or its row took the place of that one's."""


OF_ANSWERS = (ShapeOutcome.ERROR, ShapeOutcome.DISBELIEVED, ShapeOutcome.NO_ANSWER)
OF_ROWS = (ShapeOutcome.LOST, ShapeOutcome.DOUBLED, ShapeOutcome.KEPT, ShapeOutcome.EARLY)
OF_CONTENT = (ShapeOutcome.ALTERED,)
GATES_OF_SHAPES: Mapping[str, tuple[ShapeOutcome, ...]] = {
    "S10.answers": OF_ANSWERS,
    "S10.rows": OF_ROWS,
    "S10.content": OF_CONTENT,
    "S10.keys": (ShapeOutcome.MERGED,),
}
"""The outcomes that each gate forbids."""
PROBLEMS = tuple(outcome for outcomes in GATES_OF_SHAPES.values() for outcome in outcomes)
ACCEPTED = (ShapeOutcome.STORED, ShapeOutcome.SET_ASIDE, *OF_ROWS, ShapeOutcome.ALTERED)
"""Outcomes that say something about rows."""


@dataclass(frozen=True, slots=True)
class ShapedEvent:
    """One event of S10. ``what``: how it differs from the plain one; ``detail``: what is wrong with it."""

    scenario_run: str
    key: str
    what: str
    kinds: tuple[str, ...]
    outcome: ShapeOutcome
    status: int
    took_ms: float
    compared: int = 0
    """How many of its mapped columns were compared."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ShapeFinding:
    """One thing that goes wrong, with the smallest event that shows it.

    ``changes``: how that event differs from the plain one; ``sentence`` says it together with what happens. ``events``
    of the run show it, in ``fields``. ``requests``: how many it took to shrink it. ``file`` in the pack has its body;
    ``command`` sends it again, once the texts in angle brackets are filled in.
    """

    route: str
    outcome: ShapeOutcome
    sentence: str
    changes: tuple[str, ...]
    events: int
    fields: tuple[str, ...]
    requests: int
    is_smallest: bool
    key: str
    first: str
    file: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class ShapesReport:
    """All of S10. ``left_out``: routes, fields and kinds that were not tried, each with the reason.

    ``unproven``: why the rest of it proves nothing, where it does not.
    """

    scenarios: tuple[Scenario, ...]
    events: tuple[ShapedEvent, ...] = ()
    findings: tuple[ShapeFinding, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    compares_content: bool = True
    unproven: str = ""
    elapsed_s: float = 0.0
