"""Which processes are sampled, and under which role: rules over pids, command lines and parents.

Flow: ``Roles.assign`` gets every new process and gives its role or None. A process keeps its role. This module reads
nothing itself; ``rig.samplers.pids`` reads the kernel's files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rig.evidence.sample_names import Role

_AUXILIARY = re.compile(
    r"^postgres: (?:[^:]*: )?(?:archiver|autovacuum (?:launcher|worker)|background (?:worker|writer)|checkpointer"
    r"|io worker|logger|logical replication|slotsync worker|startup|stats collector|walreceiver|walsender"
    r"|walsummarizer|walwriter|wal (?:receiver|sender|writer))\b"
)
_TITLE = "postgres: "


@dataclass(frozen=True, slots=True)
class Rule:
    """Processes with these ``pids``, processes whose command line contains ``match``, and the descendants of both.

    ``below``: a match counts only among the children of that process. ``not_in``: and only outside of that session.
    """

    role: str
    pids: tuple[int, ...] = ()
    match: str | None = None
    below: int | None = None
    not_in: int | None = None


@dataclass(slots=True)
class Roles:
    """Assigns roles; the first rule that fits counts, then the parent's role."""

    rules: Sequence[Rule]
    aside: frozenset[int] = frozenset()
    """Processes that no ``match`` applies to: the rig and its ancestors, whose command lines may hold the pattern."""
    _known: dict[int, str] = field(default_factory=dict)

    def assign(self, pid: int, ppid: int, session: int, command: str) -> str | None:
        """The role of a process, which is remembered for its children; None where it has none (yet)."""
        role = self._by_rule(pid, ppid, session, command) or self._by_descent(ppid, command)
        if role is not None:
            self._known[pid] = role
        return role

    def forget(self, pid: int) -> None:
        """Drop a process that has ended."""
        self._known.pop(pid, None)

    def add(self, rule: Rule) -> None:
        self.rules = (rule, *self.rules)

    def awaits(self, ppid: int) -> bool:
        """Whether a child of that process gets a role later: just after its fork it has its parent's title."""
        return self._known.get(ppid) in (Role.BACKEND, Role.AUXILIARY)

    def _by_rule(self, pid: int, ppid: int, session: int, command: str) -> str | None:
        for rule in self.rules:
            if pid in rule.pids:
                return rule.role
            below = rule.below in (None, ppid) and pid not in self.aside
            if rule.match and below and session != rule.not_in and re.search(rule.match, command):
                return rule.role
        return None

    def _by_descent(self, ppid: int, command: str) -> str | None:
        role = self._known.get(ppid)
        if role not in (Role.BACKEND, Role.AUXILIARY):
            return role
        if not command.startswith(_TITLE):
            return None  # just forked: it will set its own title
        return Role.AUXILIARY if _AUXILIARY.match(command) else Role.BACKEND


def rules_from(options: Sequence[Mapping[str, object]]) -> tuple[Rule, ...]:
    """Rules as they come through JSON."""
    return tuple(Rule(**{**rule, "pids": tuple(rule.get("pids", ()))}) for rule in options)  # type: ignore[arg-type]  # JSON
