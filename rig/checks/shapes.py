"""``S10.…``: whatever shape an event has, it is stored unaltered or refused, and the service lives on.

What failed was shrunk while the run went on (``rig.run.shapes``); here it is judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case
from rig.evidence.gate import Gate
from rig.evidence.shapes import ACCEPTED, GATES_OF_SHAPES, S10, ShapeOutcome, ShapesReport
from rig.model import ShapeKind

ANSWERS = GateKind(
    "S10.answers",
    Kind.SERVICE,
    "an event of any shape is accepted or refused with 4xx: no error of the server, no silence, no lost connection, "
    "no right signature that is taken for a wrong one",
)
ROWS = GateKind(
    "S10.rows",
    Kind.TRUTH,
    "an event of any shape that is accepted has one row, or a dead letter; one that is refused has none, and none is "
    "accepted while its table is locked",
)
CONTENT = GateKind("S10.content", Kind.TRUTH, "the row of an event of any shape holds what was sent, in mapped columns")
KEYS = GateKind(
    "S10.keys",
    Kind.TRUTH,
    "two events whose keys differ in one character, or in a letter's case, are both stored, and so are two of the same "
    "amount and time",
)
_ALL = (ANSWERS, ROWS, CONTENT, KEYS)
_NAMED = 3
_LEFT_OUT = 6


@emits(*_ALL)
def check_shapes(case: Case) -> list[Gate]:
    """The gates of S10; none where it was not to be sent."""
    report = case.shapes
    if report is None:
        return [ANSWERS.not_run(case.left_out[S10])] if S10 in case.left_out else []
    return [
        _gate(ANSWERS, report, len(report.events)),
        _gate(ROWS, report, _count(report, ACCEPTED)),
        _content(report),
        _gate(KEYS, report, _count_key_pairs(report)),
    ]


def _content(report: ShapesReport) -> Gate:
    if not report.compares_content:
        return CONTENT.not_run("content not compared: the profile names no fields ([truth.canonical.fields])")
    return _gate(CONTENT, report, sum(each.compared > 0 for each in report.events))


def _gate(kind: GateKind, report: ShapesReport, judged: int) -> Gate:
    wrong = GATES_OF_SHAPES[kind.pattern]
    found = [each for each in report.findings if each.outcome in wrong]
    counts = Counter(each.outcome.value for each in report.events)
    figures: dict[str, object] = {
        "judged": judged,
        "failed": _count(report, wrong),
        **{outcome.value.replace(" ", "_"): counts[outcome] for outcome in ShapeOutcome if counts[outcome]},
        "smallest": [each.sentence for each in found],
        "requests_for_shrinking": sum(each.requests for each in found),
        "left_out": [f"{name}: {why}" for name, why in report.left_out.items()][:_LEFT_OUT],
    }
    if failed := figures["failed"]:
        named = "; ".join(each.sentence for each in found[:_NAMED]) or "none of them was shrunk"
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return kind.decide(figures, wrong=f"{failed} of {judged} events failed; the smallest: {named}{more}")
    if report.unproven or judged:
        return kind.decide(figures, unproven=report.unproven)
    whys = "; ".join(f"{name}: {why}" for name, why in report.left_out.items())
    return kind.not_run(whys or "no event was sent whose outcome it judges", figures)


def _count_key_pairs(report: ShapesReport) -> int:
    """How many second events of a pair of keys tell whether both are stored: one that is refused tells nothing."""
    tells = (ShapeOutcome.STORED, ShapeOutcome.MERGED)
    return sum(ShapeKind.KEYS in each.kinds and each.outcome in tells for each in report.events)


def _count(report: ShapesReport, outcomes: Collection[ShapeOutcome]) -> int:
    return sum(each.outcome in outcomes for each in report.events)
