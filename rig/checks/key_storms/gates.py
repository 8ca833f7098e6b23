"""``storm.<case>.<gate>``: the key storm, judged from what was counted outside the fleet.

The gates ask for few fetches and for right answers: a verifier that never fetches, or refuses everybody, passes
nothing. The evidence of a case says which gates it has. What the origin counted is judged in any case. What only the
callers can tell is INVALID where one of them gave no report, unless it is wrong already. The rules are in ``fetches``,
``answers`` and ``faults``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rig.checks.gates import GateKind, Kind, emits
from rig.checks.key_storms import answers, faults, fetches
from rig.checks.key_storms.figures import (
    amplification,
    duration_s,
    expected_fetches,
    gaps_s,
    most_at_once,
    most_in_a_cool_down,
)
from rig.checks.key_storms.findings import NotTried, Rule, Unjudgeable
from rig.checks.key_storms.jitter import Undecided
from rig.checks.race_tests.catalog import RAN, not_run_gate
from rig.evidence.bad_tokens import FORGED
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.key_storm import KeyStorm
from rig.evidence.storm import UNKNOWN_KID


def storm_gates(storm: KeyStorm) -> list[Gate]:
    """The gates of one case."""
    prefix = f"storm.{storm.case}"
    if storm.not_run:
        verdict = Verdict.INVALID if storm.asked else Verdict.NOT_RUN
        return [Gate(prefix, verdict, storm.story, reason=storm.not_run)]
    return [_gate(storm, f"{prefix}.{name}", _RULES[name]) for name in storm.gates]


def _gate(storm: KeyStorm, gate_id: str, rule: Rule) -> Gate:
    try:
        sentence, figures, wrong = rule(storm)
    except (Unjudgeable, Undecided, NotTried) as reason:
        verdict = Verdict.NOT_RUN if isinstance(reason, NotTried) else Verdict.INVALID
        return Gate(gate_id, verdict, (rule.__doc__ or "").strip(), reason=str(reason))
    return Gate(gate_id, Verdict.FAIL if wrong else Verdict.PASS, sentence, figures, wrong)


_RULES: Mapping[str, Rule] = {
    "single-flight": fetches.judge_single_flight,
    "floor": fetches.judge_cool_down,
    "amplification": fetches.judge_amplification,
    "false-accepts": answers.judge_false_accepts,
    "lives": answers.judge_lives,
    "refusals": answers.judge_refusals,
    **{f"forged-{kind}": answers.rule_out(kind, what) for kind, what in FORGED.items()},
    "start": fetches.judge_start,
    "known-kids": answers.judge_known_key_ids,
    "follower-wait": answers.judge_follower_wait,
    "rotation": answers.judge_rotation,
    "waits": answers.judge_waits,
    "withdrawn": answers.judge_withdrawn_key,
    "expiry": answers.judge_expiry,
    "no-key-id": answers.judge_missing_key_id,
    "backoff": faults.judge_backoff,
    "jitter": faults.judge_jitter,
    "recovery": faults.judge_recovery,
    "takeover": faults.judge_takeover,
    "store-wait": faults.judge_store_wait,
    "store-back": faults.judge_store_back,
    "connections": fetches.judge_connections,
    "ledger": fetches.judge_ledger,
    "own-count": fetches.judge_own_count,
}
GATES = tuple(_RULES)
KINDS = tuple(
    GateKind(f"storm.*.{name}", Kind.STORM, (rule.__doc__ or "").strip().removesuffix("."))
    for name, rule in _RULES.items()
)


@emits(RAN, *KINDS)
def check_key_storms(case: Case) -> list[Gate]:
    """Every gate of every case of the key storm that is not for display only."""
    not_run = [not_run_gate(report) for report in case.storms if report.storm == UNKNOWN_KID]
    return not_run + [gate for storm in case.key_storms if not storm.display_only for gate in storm_gates(storm)]


def figures_of(storm: KeyStorm) -> dict[str, Any]:
    """The figures of one case for ``--json`` and tables."""
    if storm.not_run:
        return {"not_run": storm.not_run}
    figures: dict[str, Any] = {
        "fetches": len(storm.fetches),
        "fetches_before_release": storm.before,
        "proxy_fetches": len(storm.proxy_fetches),
        "own_fetches": storm.own,
        "expected_fetches": expected_fetches(storm),
        "amplification": round(amplification(storm), 3),
        "most_in_a_cool_down": most_in_a_cool_down(storm),
        "most_at_once": most_at_once(storm),
        "least_gap_s": round(min(gaps_s(storm)), 3) if len(storm.fetches) > 1 else None,
        "storm_s": round(duration_s(storm), 3),
        "skew_ms": None if storm.skew_ns is None else round(storm.skew_ns / 1e6, 3),
        "connections_opened": storm.connections.opened if storm.connections else None,
    }
    figures["of_gates"] = {gate.id.rpartition(".")[2]: dict(gate.figures) for gate in storm_gates(storm)}
    return figures
