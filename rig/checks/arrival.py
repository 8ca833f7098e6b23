"""``S1.late`` … ``S9.late``: the row of an acknowledged request is there when its answer arrives."""

from __future__ import annotations

from collections.abc import Sequence

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case
from rig.evidence.gate import Gate
from rig.evidence.truth import Arrival

LATE = GateKind(
    "*.late", Kind.TRUTH, "each row that was watched for is there in the first snapshot that began after its answer"
)


@emits(LATE)
def check_arrival(case: Case) -> list[Gate]:
    """One gate for each scenario that leaves canonical rows; NOT-RUN where the profile says that rows come later."""
    arrivals = case.truth.arrivals if case.truth is not None else ()
    scenarios = dict.fromkeys(arrival.scenario for arrival in arrivals)
    return [_late_gate(case, name, [each for each in arrivals if each.scenario == name]) for name in scenarios]


def _late_gate(case: Case, scenario: str, arrivals: Sequence[Arrival]) -> Gate:
    watched, late = sum(each.watched for each in arrivals), sum(_count_late(case, each) for each in arrivals)
    counts: dict[str, object] = {"watched": watched, "late": late}
    lags: dict[str, object] = {
        "lag_p50_ms": max(each.lag_p50_ms for each in arrivals),
        "lag_p99_ms": max(each.lag_p99_ms for each in arrivals),
        "lag_max_ms": max(each.lag_max_ms for each in arrivals),
    }
    has_queue = bool((case.profile.get("truth") or {}).get("arrival"))
    figures = lags | counts if has_queue else counts | lags  # the first ones stand in the summary
    figures["resolution_ms"] = max(each.resolution_ms for each in arrivals)
    if has_queue:
        return LATE.not_run(
            "the profile says that rows come after the answer ([truth.arrival])", figures, name=scenario
        )
    # What was late before the watch came to its end was late.
    if not late and (unwatched := next((each.unwatched for each in arrivals if each.unwatched), "")):
        return LATE.not_run(unwatched, figures, name=scenario)
    if not watched:
        return LATE.not_run("no acknowledged request of it must leave a canonical row", figures, name=scenario)
    if late:
        figures["keys"] = [key for each in arrivals for key in each.late_keys][:5]
    wrong = (
        f"{late} of {watched} rows came after their answer; if a queue stores them, write [truth.arrival] within_s"
        if late
        else ""
    )
    return LATE.decide(figures, wrong=wrong, name=scenario)


def _count_late(case: Case, arrival: Arrival) -> int:
    """The late keys, and those that never came while they were watched though no row lacks in the end."""
    groups = case.truth.groups if case.truth is not None else ()
    own = [group for group in groups if group.scenario_run == arrival.scenario_run]
    lacking = sum(max(0, group.canonical_min - group.canonical) for group in own)
    return arrival.late + (max(0, arrival.missing - lacking) if own and not arrival.unwatched else 0)
