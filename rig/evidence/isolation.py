"""How the database keeps the tenants apart: what its catalog says of tables and role, and what trials showed.

Frozen values, no I/O. ``IsolationReport.faults`` says what is wrong; the gate and ``rig doctor`` take it from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SecuredTable:
    """An event table, or a table or view through which the runtime role reaches its rows.

    ``owned``: the role owns it or may become its owner. ``open_policies`` let every row through (``name for SELECT``);
    ``silent_policies`` do not mention the setting, which is no fault yet: a trial decides. ``unbound_owner``: a view
    that the role may read, and that reads with the rights of this owner, whom row-level security does not bind.
    """

    name: str
    enabled: bool
    forced: bool
    owned: bool
    open_policies: tuple[str, ...] = ()
    silent_policies: tuple[str, ...] = ()
    unbound_owner: str = ""

    @property
    def faults(self) -> Iterator[str]:
        """What is wrong with it, in words."""
        if self.unbound_owner:
            yield f"row-level security does not bind {self.unbound_owner}, with whose rights the view {self.name} reads"
            return
        if not self.enabled:
            yield f"row-level security is off on {self.name}"
        elif not self.forced:
            yield f"row-level security is not forced on {self.name}"
        if self.owned:
            yield f"the role owns {self.name}, or may become its owner"
        for policy in self.open_policies:
            yield f"policy {policy} lets every row of {self.name} through"


@dataclass(frozen=True, slots=True)
class IsolationTrial:
    """One statement as the runtime role that must reach no row: ``rows`` is how many it reached.

    ``refused``: the database refused it. ``untried``: why it says nothing.
    """

    table: str
    what: str
    rows: int = 0
    refused: str = ""
    untried: str = ""


@dataclass(frozen=True, slots=True)
class IsolationReport:
    """What was read and tried as the runtime role ``role``. ``bypasses``: why row-level security does not bind it.

    ``untried``: why it could not be read.
    """

    setting: str
    role: str = ""
    bypasses: tuple[str, ...] = ()
    tables: tuple[SecuredTable, ...] = ()
    trials: tuple[IsolationTrial, ...] = ()
    untried: str = ""

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, in words."""
        return (
            *(f"the role {self.role!r} {why}" for why in self.bypasses),
            *(fault for table in self.tables for fault in table.faults),
            *(f"{trial.table}: {trial.what} ({trial.rows})" for trial in self.trials if trial.rows),
        )


@dataclass(frozen=True, slots=True)
class Durability:
    """Whether what the event tables hold survives a crash of the database.

    ``unlogged`` tables are emptied by one. ``settings``: fsync and the like, as the target's sessions have them.
    """

    tables: int
    unlogged: tuple[str, ...]
    settings: dict[str, str]
