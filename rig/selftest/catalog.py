"""Every gate that the rig can emit, put together from what the checkers declare, and the defects that turn it red.

``python -m rig.selftest.catalog`` prints ``docs/gates.md``; a test holds the file against it, and another holds that no
gate is without a defect: a checker cannot gain a gate that nobody has seen red. Pure: nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from rig.checks import judge
from rig.checks.confusion import check_confusion
from rig.checks.gates import ANY, Checker, GateKind, Kind
from rig.checks.key_storms import check_key_storms
from rig.checks.locust_run import check_crowd
from rig.checks.performance import check_sustained
from rig.checks.surroundings import check_leaks
from rig.evidence.gate import Verdict
from rig.selftest.defects import DEFECTS, Defect
from rig.selftest.weaknesses import WEAKNESSES, Weakness
from scenarios.ladder import IDS

_LED_BY_THE_RIG = ("run", "ladder", "perf")
_LED_BY_LOCUST = ("mix", "ui")
_OTHERS = ("calibrate", "storm", "sample")
_APART: Mapping[Checker, tuple[str, ...]] = {
    check_leaks: (*_LED_BY_THE_RIG, "storm"),  # nobody looks around in a run that locust leads
    check_sustained: ("perf",),
    check_crowd: _LED_BY_LOCUST,
    check_key_storms: ("run", "storm"),
}
"""Checkers that find something to judge under other verbs than those beside which they stand."""
_BY_SCENARIO = ("*.rows", "*.answers")
"""Gates of which every scenario of the ladder has one that must be seen red itself."""
_INTRODUCTION = """# Gates

Every gate that the rig can emit: what it asks for, which verbs judge it (where its scenario or storm took part; `mix`
and `ui` stand for every run that locust leads), and which defects of `rig prove` turn it red.
`*` stands for a scenario, a case of a storm, or a checker. A gate of kind *instrument* speaks of the evidence and is
never FAIL; it turns INVALID (or NOT-RUN, where nothing was tried). All others are FAIL where the target did wrong.

This page is made from the code by `python -m rig.selftest.catalog > docs/gates.md`. A gate without a defect that turns
it red fails the tests; a checker that emits a gate which it does not declare makes the run INVALID. Of gates that many
cases share (`storm.*.floor`) the judging code is the same in all, and one case shows that it can be red.
"""
_TITLES = {
    Kind.TRUTH: "Truth: the rows that exist",
    Kind.SERVICE: "Service: what the target answers",
    Kind.PERFORMANCE: "Performance: how fast",
    Kind.PRIVACY: "Privacy: where personal data lies",
    Kind.INSTRUMENT: "Instrument: what the evidence can carry",
    Kind.STORM: "Storms: what a fleet does",
    Kind.EXIT: "Exit gates: composed of others",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One gate of the catalog: the verbs that judge it, and the defects under which it must be red."""

    kind: GateKind
    verbs: tuple[str, ...]
    seeded: tuple[str, ...]


def catalog() -> tuple[Entry, ...]:
    """All gates, each once, in the order in which they are judged."""
    verbs: dict[GateKind, list[str]] = {}
    for checkers, names in _groups():
        for kind in (kind for checker in checkers for kind in checker.gates):
            verbs.setdefault(kind, []).extend(name for name in names if name not in verbs.get(kind, []))
    loading = [*_LED_BY_THE_RIG, *_LED_BY_LOCUST]
    for exit_gate in judge.EXIT_GATES:
        parts = ", ".join(exit_gate.members) + (
            f"; where tried: {', '.join(exit_gate.besides)}" * bool(exit_gate.besides)
        )
        verbs[GateKind(exit_gate.id, Kind.EXIT, f"{exit_gate.title}: {parts}")] = loading
    verbs[judge.SOUND] = [*loading, *_OTHERS]
    kinds = tuple(verbs)
    seeded = _seeded(kinds)
    return tuple(Entry(kind, tuple(verbs[kind]), tuple(seeded.get(kind, ()))) for kind in kinds)


def _groups() -> Iterator[tuple[Iterable[Checker], Sequence[str]]]:
    """Which verbs the checkers serve, as ``rig.checks.judge`` calls them."""
    loading = (*_LED_BY_THE_RIG, *_LED_BY_LOCUST)
    yield judge.ALWAYS, (*loading, *_OTHERS)
    yield judge.CALIBRATION, (*loading, "calibrate")
    yield from (((checker,), _APART.get(checker, loading)) for checker in judge.LOAD)
    yield judge.WATCHING, ("sample",)
    yield from (((checker,), _APART.get(checker, ("storm",))) for checker in judge.STORMS)
    yield (check_confusion,), ("prove --diagnosis",)


def reds(of: Iterable[Defect | Weakness] = (*DEFECTS, *WEAKNESSES)) -> list[tuple[str, str]]:
    """Every pair of a gate and a defect under which it must be red."""
    return [(gate, one.name) for one in of for gate, expected in one.cells().items() if expected is not Verdict.PASS]


def kind_of(gate: str, kinds: Iterable[GateKind]) -> GateKind | None:
    """The kind that a gate is of: its own where there is one, else the one with the fewest gates of other names."""
    covering = [kind for kind in kinds if kind.covers(gate)]
    return min(covering, key=lambda kind: (kind.pattern.count(ANY), -len(kind.pattern)), default=None)


def unproven(entries: Sequence[Entry]) -> list[str]:
    """The gates that no defect turns red, by name; empty when the proof is complete."""
    red = {gate for gate, _ in reds()}
    by_scenario = [GateKind(pattern, Kind.TRUTH, "").of(scenario) for pattern in _BY_SCENARIO for scenario in IDS]
    return [entry.kind.pattern for entry in entries if not entry.seeded] + [
        gate for gate in by_scenario if gate not in red
    ]


def _seeded(kinds: Sequence[GateKind]) -> Mapping[GateKind, list[str]]:
    seeded: dict[GateKind, list[str]] = {}
    for gate, defect in reds():
        kind = kind_of(gate, kinds)
        if kind is not None and defect not in seeded.setdefault(kind, []):
            seeded[kind].append(defect)
    return seeded


def page() -> str:
    """The catalog as Markdown."""
    entries = catalog()
    parts = [_INTRODUCTION.rstrip()]
    for kind, title in _TITLES.items():
        rows = [entry for entry in entries if entry.kind.kind is kind]
        parts.append("\n".join([f"## {title}", "", "| gate | rule | verbs | turned red by |", "|---|---|---|---|"]
                               + [_row(entry) for entry in rows]))  # fmt: skip
    pairs = len(reds())
    parts.append(f"{len(entries)} gates, {pairs} pairs of gate and defect.")
    return "\n\n".join(parts) + "\n"


def _row(entry: Entry) -> str:
    verbs = ", ".join(f"`{verb}`" for verb in entry.verbs)
    return f"| `{entry.kind.pattern}` | {entry.kind.rule} | {verbs} | {', '.join(entry.seeded)} |"


if __name__ == "__main__":
    click.echo(page(), nl=False)
