"""migration-race: N replicas migrate an empty database at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.checks.race_tests.race_kind import RaceFigures, RaceGates, RaceKind, when
from rig.evidence.gate import Gate
from rig.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationFigures(RaceFigures):
    """``racing`` is the most replicas that ran at one time; in exit codes ``none`` is a replica without a report.

    ``met`` is, for each race, how many replicas were there when the first DDL ran; None in packs that were made before
    it was counted. ``exit_codes`` are of all races, ``refused`` of them are refusals by design,
    and ``nobody_migrated`` counts the races in which no replica ended with 0. ``commands`` and
    ``rows`` are what the last race left, ``…_expected`` what a lone replica left. ``not_compared`` are columns.
    """

    replicas: int
    racing: int
    met: list[int] | None = None
    refused: int = 0
    nobody_migrated: int = 0
    exit_codes: Mapping[str, int]
    second_exit_codes: Mapping[str, int]
    said: list[str]
    commands_expected: int
    commands: int
    rows_expected: int
    rows: int
    differences: list[str]
    not_compared: list[str] = field(default_factory=list)
    second_changes: list[str]
    second_refused: int = 0
    elapsed_s: float

    @property
    def summary(self) -> str:
        met = ", ".join(f"{met} of {self.replicas}" for met in self.met or ())
        codes = ", ".join(f"{count} × {code}" for code, count in sorted(self.exit_codes.items()))
        return f"met {met}; exit codes {codes}; rows {self.rows} of {self.rows_expected}"


def _judge(gates: RaceGates[MigrationFigures]) -> list[Gate]:
    it = gates.it
    failed = _count_failures(it.exit_codes) - it.refused
    failed_again = _count_failures(it.second_exit_codes) - it.second_refused
    again = when(failed_again, f"{counted(failed_again, 'replica')} failed")
    nothing = when(not it.commands_expected, "a lone replica changes nothing: there was nothing to race for")
    alone = _lacks_race(it)
    compared = ("commands", "commands_expected", "rows", "rows_expected", "differences", "not_compared")
    runs = sum(it.exit_codes.values())
    nobody = when(it.nobody_migrated, f"in {it.nobody_migrated} of {len(it.met or [0])} races no replica migrated")
    return [
        gates.gate(
            "once",
            *("replicas", "racing", "met", *compared),
            wrong="; ".join(it.differences[:3]),
            weak=nothing or alone,
        ),
        gates.gate(
            "exit",
            *("replicas", "met", "exit_codes", "refused", "said", "elapsed_s"),
            wrong=when(failed, f"{failed} of {counted(runs, 'replica')} failed: {', '.join(it.said[:2])}") or nobody,
            weak=alone or when(not it.exit_codes, "no replica was seen to end"),
        ),
        gates.gate(
            "second-run",
            *("second_exit_codes", "second_changes"),
            wrong="; ".join(filter(None, [*it.second_changes[:3], again])),
            weak=nothing or when(not it.second_exit_codes, "no replica ran a second time"),
        ),
    ]


def _count_failures(exit_codes: Mapping[str, int]) -> int:
    return sum(count for code, count in exit_codes.items() if code not in ("0", "none"))


def _lacks_race(it: MigrationFigures) -> str:
    if it.met is None:  # a pack from before it was counted
        return when(it.racing < 2, "no two replicas ran at the same time: nobody raced")
    raced = sum(met >= 2 for met in it.met)
    return when(
        not raced, f"in none of {len(it.met)} races a second replica was there when the first changed something"
    )


MIGRATION_RACE = RaceKind(
    "migration-race",
    # A replica that loses the race is rolled back: the database is right, the exit code is not.
    {"lock": ("exit",), "ledger": ("once", "second-run")},
    MigrationFigures,
    {
        "once": "schema and rows are what a lone replica makes of the database: each version applied exactly once",
        "exit": "every replica ends with exit code 0, or refuses by design while another migrates",
        "second-run": "a second run of all replicas changes nothing and ends with exit code 0",
    },
    _judge,
)
