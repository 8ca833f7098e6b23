"""What probes found of a service: answers to questions, and what no question asks. Frozen values and their words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.init.columns import MappedColumn

ARRIVAL_LEAST_S = 120


@dataclass(frozen=True, slots=True)
class Found:
    """``answers`` by the names of questions. ``lines`` is the table that the user sees: what, and what it is.

    ``canonical_sql`` and ``dead_sql`` give the key as ``rig_key`` where no column is the key. ``guesses``: columns that
    perhaps hold a part of the event; they stand in the profile as comments. ``malformed``: the ways to spoil the body
    that the service does not take for right; None: nobody asked. ``personal``: the columns that keep personal parts of
    the event, each with their paths. ``lag_s``: how long the last row came after its answer, None where each was there
    with it.
    """

    answers: Mapping[str, str] = field(default_factory=dict)
    canonical_sql: str = ""
    dead_sql: str = ""
    fields: Mapping[str, MappedColumn] = field(default_factory=dict)
    guesses: Mapping[str, MappedColumn] = field(default_factory=dict)
    personal: Mapping[str, list[str]] = field(default_factory=dict)
    malformed: tuple[Mapping[str, object], ...] | None = None
    malformed_row: str = ""
    invalid_json_row: str = ""
    lag_s: float | None = None
    lines: tuple[tuple[str, str], ...] = ()

    @property
    def within_s(self) -> int:
        """A limit for the last row of a run; 0 where rows come with their answers."""
        return 0 if self.lag_s is None else max(ARRIVAL_LEAST_S, 20 * int(self.lag_s + 1))

    def is_about(self, answers: Mapping[str, str]) -> bool:
        """Whether these answers name the table and the key that were found, so that the rest fits."""
        names = ("canonical-table", "canonical-key")
        return bool(self.answers.get(names[0])) and all(answers[name] == self.answers.get(name) for name in names)

    def table(self) -> str:
        """What was found, a line each."""
        width = max((len(name) for name, _ in self.lines), default=0)
        return "\n".join(f"  {name:<{width}}  {said}" for name, said in self.lines)
