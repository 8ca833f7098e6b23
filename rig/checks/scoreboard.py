"""The scoreboard: what several verifiers cost an origin, side by side. Pure, from the evidence of their storms.

It is shown, not judged: the libraries are no part of the service that is tested.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rig.checks.key_storm_figures import amplification, most_at_once
from rig.checks.key_storms import storm_gates
from rig.evidence.gate import Verdict
from rig.evidence.key_case import Token
from rig.evidence.key_storm import KeyStorm

_RANDOM, _FAILING, _ROTATION = "random-kids", "failing-cached", "rotation-inside"


def scoreboard(storms: Iterable[KeyStorm]) -> list[dict[str, Any]]:
    """One row for each subject, in the order of their first storms; values are None where a case was not run."""
    by_subject: dict[str, dict[str, KeyStorm]] = {}
    for storm in storms:
        by_subject.setdefault(storm.subject, {})[storm.case] = storm
    return [_row(subject, cases) for subject, cases in by_subject.items()]


def _row(subject: str, cases: dict[str, KeyStorm]) -> dict[str, Any]:
    tried = {name: storm for name, storm in cases.items() if not storm.not_run}
    any_storm = next(iter(cases.values()))
    random, failing, rotation = (tried.get(name) for name in (_RANDOM, _FAILING, _ROTATION))
    return {
        "subject": subject,
        "random_fetches": random and len(random.fetches),
        "random_amplification": random and round(amplification(random), 1),
        "random_most_at_once": random and most_at_once(random),
        "outage_fetches": failing and _in_outage(failing),
        "outage_known_success": failing and _known_success(failing),
        "rotation_fetches": rotation and len(rotation.fetches),
        "rotation_window_s": rotation and _window_s(rotation),
        "gates_failed": sum(gate.verdict is Verdict.FAIL for storm in tried.values() for gate in storm_gates(storm)),
        "what_it_does": any_storm.note,
        "not_run": any_storm.not_run,
    }


def _in_outage(storm: KeyStorm) -> int:
    back = storm.mark("origin ok")
    return sum(back is None or fetch.start_ns < back.at_ns for fetch in storm.fetches)


def _known_success(storm: KeyStorm) -> float | None:
    known = storm.calls[storm.calls["token"] == Token.KNOWN.value]
    return round(float(known["accepted"].mean()), 4) if len(known) else None


def _window_s(storm: KeyStorm) -> float | None:
    """From the rotation to the last refusal of the new key."""
    rotation = storm.mark("rotation")
    new = storm.calls[storm.calls["token"] == Token.ROTATED.value]
    refused = new[~new["accepted"].astype(bool)]
    if rotation is None or new.empty:
        return None
    return round((float(refused["end_ns"].max()) - rotation.at_ns) / 1e9, 2) if len(refused) else 0.0


COLUMNS = (
    ("verifier", "subject"),
    ("random key ids: fetches", "random_fetches"),
    ("at once", "random_most_at_once"),
    ("outage: fetches", "outage_fetches"),
    ("known served", "outage_known_success"),
    ("rotation: fetches", "rotation_fetches"),
    ("refused for (s)", "rotation_window_s"),
    ("gates failed", "gates_failed"),
    ("what it does", "what_it_does"),
)
"""Titles of the scoreboard's columns, and the fields of its rows."""


def cells(row: dict[str, Any]) -> list[str]:
    """One row as texts; NOT-RUN with its reason where it was not run."""
    if row["not_run"]:
        return [row["subject"], *["NOT-RUN"] * (len(COLUMNS) - 2), row["not_run"]]
    return ["-" if row[name] is None else f"{row[name]}" for _, name in COLUMNS]
