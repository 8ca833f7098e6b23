"""``bodies``: no answer contradicts its own status, and each carries the correlation id of its request.

The client compares each answer with what the profile says (``answers.….body``, ``answers.correlation``); the history
has what came of it as the error kind of a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case, describe_missing_reports
from rig.evidence.gate import Gate
from rig.evidence.history import CONTRADICTIONS
from rig.model import FORGED, Outcome, RequestClass
from rig.text import shorten

_SHOWN = 300

BODIES = GateKind(
    "bodies",
    Kind.SERVICE,
    "the body of a success says what the profile promises, and the correlation id of the request comes back",
)


@emits(BODIES)
def check_bodies(case: Case) -> list[Gate]:
    """Judge the answers of the classes that the profile says more of than a status."""
    answers = case.profile.get("answers") or {}
    if "correlation" not in answers:
        return []  # a pack of a rig that did not look at bodies
    asked = _asked_classes(answers)
    own = {str(route["name"]): _asked_classes(route.get("answers") or {}) for route in case.profile.get("routes", ())}
    if not asked and not any(own.values()):
        why = "the profile says nothing of bodies and correlation ids ([answers.valid] body, [answers.correlation])"
        return [BODIES.not_run(why)]
    if case.locust_run is not None:
        return [BODIES.not_run("the workers of a locust run do not look at bodies")]
    classes, kinds = (case.history[column].astype(str) for column in ("class", "error_kind"))
    classes = classes.str.split(":").str[0]
    is_asked = classes.isin(asked)
    for route, kinds_of_route in own.items():
        is_asked |= (case.history["route"].astype(str) == route) & classes.isin(kinds_of_route)
    is_read = (case.history["outcome"] == Outcome.ACKNOWLEDGED) & is_asked
    counts = {kind: int((is_read & (kinds == kind)).sum()) for kind in CONTRADICTIONS}
    figures: dict[str, object] = {"read": int(is_read.sum()), **counts}
    found = [f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items() if count]
    wrong = ", ".join(found)
    examples = [each for each in case.examples if each.why in CONTRADICTIONS]
    if wrong and examples:
        figures["first"] = [
            f"{each.why.replace('_', ' ')}: {each.key} {each.status} {each.body!r}" for each in examples
        ]
        first = examples[0]
        wrong += f"; the first: {first.key} was answered {first.status} {shorten(repr(first.body), _SHOWN)}"
    if not wrong and not figures["read"]:
        return [BODIES.not_run("no answer of these classes came", figures)]
    return [BODIES.decide(figures, wrong=wrong, unproven=describe_missing_reports(case.scenario_runs))]


def _asked_classes(answers: Mapping[str, Any]) -> set[str]:
    """The classes whose answers are looked at."""
    if answers.get("correlation") is not None:
        return {kind.value for kind in RequestClass} - {FORGED}
    return {kind.value for kind in RequestClass if _has_rule(answers.get(kind.value))}


def _has_rule(answer: object) -> bool:
    return isinstance(answer, Mapping) and answer.get("body") is not None
