"""``diagnosis.confusion``: did the diagnosis find what was seeded? Only for packs of ``rig prove --diagnosis``."""

from __future__ import annotations

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case
from rig.evidence.confusion import LEAST_SCORE, Confusion
from rig.evidence.gate import Gate, Verdict

FOUND = GateKind(
    "diagnosis.confusion",
    Kind.EXIT,
    f"at least {LEAST_SCORE:.0%} of the answers name the bottleneck that was seeded, and none is a false alarm",
)


@emits(FOUND)
def check_confusion(case: Case) -> list[Gate]:
    """The score over all answers; INVALID where nothing was asked."""
    confusion = Confusion(case.answers)
    wrong = [answer for answer in case.answers if not answer.right]
    figures = {
        "answers": len(case.answers),
        "right": len(case.answers) - len(wrong),
        "score": round(confusion.score, 4),
        "false_alarms": confusion.false_alarms,
    }
    reason = "; ".join(f"{answer.seed} {answer.repetition}: {answer.observed}" for answer in wrong)
    if not case.answers:
        reason = "nothing was asked"
    return [
        Gate(FOUND.pattern, confusion.verdict, FOUND.rule, figures, "" if confusion.verdict is Verdict.PASS else reason)
    ]
