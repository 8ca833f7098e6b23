"""Every gate that the rig can emit, as the checkers declare them, and the defects that turn it red.

``python -m rig.selftest.catalog`` prints ``docs/gates.md``. Tests compare the file with it, and see to it that no gate
is without a defect: a checker cannot get a gate that nobody has seen red. Pure: nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from rig.checks import judge
from rig.checks.capacity import check_capacity
from rig.checks.confusion import check_confusion
from rig.checks.gates import ANY, Checker, GateKind, Kind
from rig.checks.key_storms.gates import check_key_storms
from rig.checks.locust_run import check_locust_run
from rig.checks.performance import check_sustained_load
from rig.checks.surroundings import check_leaks
from rig.evidence.gate import Verdict
from rig.selftest.defects import DEFECTS
from rig.selftest.stages import Defect
from rig.selftest.weaknesses import WEAKNESSES, Weakness

_RIG_VERBS = ("run", "ladder", "perf")
_LOCUST_VERBS = ("mix", "ui")
_OTHERS = ("calibrate", "storm", "sample")
_APART: Mapping[Checker, tuple[str, ...]] = {
    check_leaks: (*_RIG_VERBS, "storm"),  # a run that locust leads is not checked for leaks
    check_sustained_load: ("perf",),
    check_locust_run: _LOCUST_VERBS,
    check_capacity: ("capacity",),
    check_key_storms: ("run", "storm"),
}
"""Checkers that have something to judge under other verbs than their group in ``rig.checks.judge`` has."""
_INTRODUCTION = """# Gates

Every gate that the rig can emit: its rule, the verbs that judge it, and the defects of `rig prove` that turn it red.
A verb judges a gate where its scenario or storm took part; `mix` and `ui` stand for every run that locust leads.
`*` stands for a scenario, a case of a storm, or a checker. A gate of kind *instrument* is about the evidence and never
FAIL: it turns INVALID, or NOT-RUN where nothing was tried. Every other gate is FAIL where the target did wrong.

The command `python -m rig.selftest.catalog > docs/gates.md` makes this page from the code. A gate without a defect that
turns it red fails the tests. A checker that emits a gate which it does not declare makes the run INVALID. Some gates
are shared by many cases (`storm.*.floor`): the same code judges all of them, and one case shows that it can be red.
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
    """One gate, the verbs that judge it, and the defects that must turn it red."""

    kind: GateKind
    verbs: tuple[str, ...]
    defects: tuple[str, ...]


def catalog() -> tuple[Entry, ...]:
    """All gates, each once, in the order in which they are judged."""
    verbs: dict[GateKind, list[str]] = {}
    for checkers, names in _groups():
        for kind in (kind for checker in checkers for kind in checker.gates):
            verbs.setdefault(kind, []).extend(name for name in names if name not in verbs.get(kind, []))
    loading = [*_RIG_VERBS, *_LOCUST_VERBS]
    for exit_gate in judge.EXIT_GATES:
        parts = ", ".join(exit_gate.members) + (
            f"; where tried: {', '.join(exit_gate.besides)}" * bool(exit_gate.besides)
        )
        verbs[GateKind(exit_gate.id, Kind.EXIT, f"{exit_gate.title}: {parts}")] = loading
    verbs[judge.SOUND] = [*loading, *_OTHERS]
    kinds = tuple(verbs)
    defects = _defects_by_kind(kinds)
    return tuple(Entry(kind, tuple(verbs[kind]), tuple(defects.get(kind, ()))) for kind in kinds)


def _groups() -> Iterator[tuple[Iterable[Checker], Sequence[str]]]:
    """Which verbs the checkers serve, as ``rig.checks.judge`` calls them."""
    loading = (*_RIG_VERBS, *_LOCUST_VERBS)
    yield judge.ALWAYS, (*loading, *_OTHERS)
    yield judge.CALIBRATION, (*loading, "calibrate")
    yield from (((checker,), _APART.get(checker, loading)) for checker in judge.LOAD)
    yield judge.WATCHING, ("sample",)
    yield from (((checker,), _APART.get(checker, ("storm",))) for checker in judge.STORMS)
    yield (check_confusion,), ("prove --diagnosis",)


def red_pairs(of: Iterable[Defect[Any] | Weakness] = (*DEFECTS, *WEAKNESSES)) -> list[tuple[str, str]]:
    """Every pair of a gate and a defect under which it must be red."""
    return [(gate, one.name) for one in of for gate, expected in one.cells().items() if expected is not Verdict.PASS]


def kind_of(gate: str, kinds: Iterable[GateKind]) -> GateKind | None:
    """The kind of a gate: the one whose pattern is most specific; None where there is none."""
    covering = [kind for kind in kinds if kind.covers(gate)]
    return min(covering, key=lambda kind: (kind.pattern.count(ANY), -len(kind.pattern)), default=None)


def _defects_by_kind(kinds: Sequence[GateKind]) -> Mapping[GateKind, list[str]]:
    defects: dict[GateKind, list[str]] = {}
    for gate, defect in red_pairs():
        kind = kind_of(gate, kinds)
        if kind is not None and defect not in defects.setdefault(kind, []):
            defects[kind].append(defect)
    return defects


def page() -> str:
    """The catalog as Markdown."""
    entries = catalog()
    parts = [_INTRODUCTION.rstrip()]
    for kind, title in _TITLES.items():
        rows = [entry for entry in entries if entry.kind.kind is kind]
        parts.append("\n".join([f"## {title}", "", "| gate | rule | verbs | turned red by |", "|---|---|---|---|"]
                               + [_row(entry) for entry in rows]))  # fmt: skip
    pairs = len(red_pairs())
    parts.append(f"{len(entries)} gates, {pairs} pairs of gate and defect.")
    return "\n\n".join(parts) + "\n"


def _row(entry: Entry) -> str:
    verbs = ", ".join(f"`{verb}`" for verb in entry.verbs)
    return f"| `{entry.kind.pattern}` | {entry.kind.rule} | {verbs} | {', '.join(entry.defects)} |"


if __name__ == "__main__":
    click.echo(page(), nl=False)
