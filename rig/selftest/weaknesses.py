"""What each protection is for: without it its own gates must turn red, and the others stay green.

The same holds for each mistake of a flawed verifier. ``prove_storms`` runs this list: one storm for each
``Weakness``, all on one server, each with a pack that is judged from its files. Tests compare the list with the
protections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rig.checks.race_tests.catalog import RACE_KINDS
from rig.checks.race_tests.race_kind import RaceKind
from rig.evidence.bad_tokens import FORGED
from rig.evidence.gate import Verdict
from rig.evidence.storm import UNKNOWN_KID
from rig.machine.supervisor import Supervisor
from rig.run.job import Job
from rig.run.open_run import open_run
from rig.run.record import conclude_on_error
from rig.run.reporter import Reporter
from rig.run.storms import run_storm_step, storm_server
from rig.selftest.matrix import Cell, Proof, cells_of, read_gates
from rig.storms.environment import StormOptions
from rig.storms.unknown_kid.cases import CASES

GATES: Mapping[str, tuple[str, ...]] = {
    **{name: build(None).gates for name, build in CASES.items()},
    **{storm: tuple(race.rules) for storm, race in RACE_KINDS.items()},
}
"""The gates of each case, without their prefix ``storm.<case>.``."""


@dataclass(frozen=True, slots=True)
class Weakness:
    """A case without some protections: the gates that must turn red, and those that may (``open``).

    All other gates of the case must stay green. With all protections it is the healthy run. ``subject`` is tested
    instead of the reference (a flawed verifier). ``impossible``: the case cannot be run against its subject. It was
    asked for by name, so that must be INVALID.
    """

    storm: str
    without: tuple[str, ...] = ()
    red: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    case: str = ""
    processes: int | None = None
    subject: str = ""
    impossible: bool = False

    @property
    def name(self) -> str:
        """Its name in the table of the proof."""
        case = self.case or self.storm
        if self.subject:
            return f"{case} of {self.subject}"
        return f"{case} without {' and '.join(self.without)}" if self.without else f"{case} healthy"

    def cells(self) -> dict[str, Verdict]:
        """Expected verdict of every declared gate, by its id."""
        case = self.case or self.storm
        if self.impossible:
            return {f"storm.{case}": Verdict.INVALID}
        return {
            f"storm.{case}.{gate}": Verdict.FAIL if gate in self.red else Verdict.PASS
            for gate in GATES[case]
            if gate in self.red or gate not in self.open
        }


_PROCESSES, _FEW = 8, 4
"""Processes of a key storm. What is sound must hold with the first number, what is wrong must show with the second."""


def _key_case(
    case: str, *without: str, red: tuple[str, ...] = (), open_: tuple[str, ...] = (), processes: int = 0
) -> Weakness:
    return Weakness(UNKNOWN_KID, without, red, open_, case, processes or (_FEW if without else _PROCESSES))


def _with_flaw(case: str, flaw: str, *red: str, processes: int = _FEW) -> Weakness:
    return Weakness(UNKNOWN_KID, (), red, (), case, processes, f"flawed-{flaw}")


def _of_race_test(race: RaceKind[Any]) -> list[Weakness]:
    return [Weakness(race.name), *(Weakness(race.name, (name,), red) for name, red in race.protections.items())]


WEAKNESSES = (
    _key_case("random-kids"),
    # All fetch at once: that is also more than one in a cool-down, with no gap between them.
    _key_case("random-kids", "single-flight", red=("single-flight", "floor", "amplification"), open_=("start",)),
    # Two connections for each process: with few of them that is within the room of the gate.
    _key_case("random-kids", "one-connection", red=("connections",), processes=_PROCESSES),
    _with_flaw("random-kids", "believing", "false-accepts"),
    # In a process only the few valid tokens right after the bad ones are refused.
    _with_flaw("random-kids", "tripping", "known-kids", processes=_PROCESSES),
    _with_flaw("random-kids", "hanging-up", "ledger"),
    _with_flaw("random-kids", "eager", "start"),
    _with_flaw("random-kids", "forgetful", "own-count"),
    _key_case("forged-tokens"),
    *(_with_flaw("forged-tokens", kind, f"forged-{kind}", processes=2) for kind in FORGED),
    _with_flaw("forged-tokens", "caching", "forged-signature", processes=2),
    _with_flaw("forged-tokens", "stumbling", "refusals", processes=2),
    # Every process dies of the same token, and nobody is left to tell the rest.
    Weakness(UNKNOWN_KID, (), ("lives",), GATES["forged-tokens"], "forged-tokens", 2, "flawed-dying"),
    _key_case("no-key-id"),
    _with_flaw("no-key-id", "unnamed", "no-key-id", processes=2),
    _with_flaw("no-key-id", "presuming", "refusals", processes=2),
    _with_flaw("no-key-id", "asking", "amplification", processes=2),
    _key_case("rotation-outside"),
    _with_flaw("rotation-outside", "hasty", "waits"),
    _key_case("cold-start"),
    _key_case("cold-start", "cold-start", red=("single-flight", "floor", "amplification")),
    _key_case("flood"),
    _key_case("flood", "cool-down", red=("floor", "amplification")),
    _key_case("slow-floor"),
    # Without gaps there are more fetches than expected, but how many more depends on the length of the storm.
    _key_case("slow-floor", "cool-down-from-end", red=("floor",), open_=("amplification",)),
    _key_case("failing-cached"),
    # A wait that does not grow follows no schedule, so its share over a schedule may be anything.
    _key_case("failing-cached", "backoff", red=("backoff",), open_=("jitter",)),
    _key_case("failing-cached", "jitter", red=("jitter",)),
    # Each process gives up after its own failure: with few of them nobody is left to see the origin return.
    _with_flaw("failing-cached", "giving-up", "recovery"),
    _key_case("withdrawn-key"),
    _with_flaw("withdrawn-key", "hoarding", "withdrawn"),
    _key_case("lapsed-tokens"),
    _with_flaw("lapsed-tokens", "caching", "expiry"),
    _key_case("rotation-inside"),
    _with_flaw("rotation-inside", "remembering", "rotation"),
    _key_case("slow-patience"),
    _key_case("slow-patience", "follower-bound", red=("follower-wait",)),
    _key_case("leader-stopped"),
    _key_case("leader-stopped", "lock-scope", red=("takeover",)),
    _key_case("store-gone"),
    # Each process fetches as often as it is asked, so how many at once depends on the machine.
    _with_flaw("store-gone", "alone", "single-flight", "floor"),
    _with_flaw("store-gone", "resigned", "store-back"),
    _key_case("store-still"),
    _with_flaw("store-still", "patient", "store-wait"),
    _key_case("store-read-only"),
    # It does not use the database, so there is nothing to put a pooler in front of.
    Weakness(UNKNOWN_KID, case="pooler", subject="pyjwt", impossible=True),
    *(weakness for race in RACE_KINDS.values() for weakness in _of_race_test(race)),
)
"""In the order they are run; the healthy one of a case before its weaknesses."""


def prove_storms(
    job: Job, weaknesses: Sequence[Weakness], environ: Mapping[str, str], reporter: Reporter, repetition: int = 1
) -> Proof:
    """Run a storm for each of these; each leaves a pack."""
    cells: list[Cell] = []
    packs: dict[str, Path] = {}
    with Supervisor() as supervisor, storm_server(supervisor, environ) as cluster:
        for weakness in weaknesses:
            reporter.stage(weakness.name)
            opened = open_run(replace(job, verb="storm"), environ, reporter)
            cases = (weakness.case,) if weakness.case else ()
            options = StormOptions(weakness.processes, weakness.without, cases, weakness.subject)
            with conclude_on_error(opened.record, "storm"):
                list(run_storm_step(opened, cluster, weakness.storm, options))
                opened.record.mark_complete()
            packs[weakness.name] = opened.record.judge(reports=False).pack
            cells += cells_of(weakness.name, weakness.cells(), read_gates(packs[weakness.name]), repetition)
    return Proof(tuple(cells), packs)
