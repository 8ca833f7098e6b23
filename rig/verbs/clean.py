"""``rig clean PACK``: show the rows that a run left in a database that people keep, and remove them if asked to.

Flow: the pack says what was sent and which tenants were made; ``rig.truth.leftovers`` finds the rows. Nothing in the
pack is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rig.errors import ConfigError, EvidenceError, UsageError
from rig.evidence.pack import Pack
from rig.model import Tenant
from rig.run.job import LOCUST
from rig.run.record import Record
from rig.target.store import Store, existing_store, require_same
from rig.target.tenants import derive_id
from rig.truth.expected import identities
from rig.truth.leftovers import Leftovers, RowsLeft, SentByRun, find_leftovers, remove_leftovers
from rig.truth.reconcile import Baseline


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What a run left, and whether it was removed. ``tenants``: names by id. ``notes`` say what nobody could see."""

    run_id: str
    leftovers: Leftovers
    removed: bool
    tenants: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        rows = [asdict(each) | {"tenant_name": self.name(each)} for each in self.leftovers.rows]
        for row in rows:
            del row["all_keys"]
        return {
            "removed": self.removed,
            "rows": [row for row in rows if not row["by_hand"]],
            "by_hand": [row for row in rows if row["by_hand"]],
            "referring": [asdict(each) for each in self.leftovers.referring],
            "notes": list(self.notes),
        }

    def name(self, row: RowsLeft) -> str:
        """What the run calls the tenant of some rows; its id where it is none of the run's."""
        return self.tenants.get(row.tenant, row.tenant)

    def list_keys(self) -> str:
        """The keys that somebody has to remove by hand, as SQL to paste."""
        parts = [f"-- Rows of run {self.run_id} that rig clean cannot remove. Put table and column in, then run it.\n"]
        for each in self.leftovers.by_hand:
            if each.all_keys:
                keys = ",\n".join("'" + key.replace("'", "''") + "'" for key in each.all_keys)
                parts.append(f"-- {each.table}, tenant {each.tenant or '-'}: {each.by_hand}\n")
                parts.append(f"DELETE FROM <table> WHERE <column> IN (\n{keys}\n);\n")
        return "\n".join(parts)


def clean(path: Path, environ: Mapping[str, str], *, remove: bool = False, cascade: bool = False) -> Cleaning:
    """Find the rows of the run of a pack; remove what may go if ``remove``.

    UsageError for a run that still goes or left no rows anywhere, ConfigError where the environment names another
    database or the database refuses; then nothing was removed.
    """
    pack = Pack.open_intact(path)
    if pack.manifest().key is None:
        raise UsageError(f"{path}: this run sent nothing to a target, so there is nothing to clean")
    record = Record.reopen(pack)
    try:
        notes = [*_require_scenarios(record)]
        store = _store(record, environ, notes)
        sent = _sent(record, notes)
    finally:
        pack.let_go()
    truth, names = record.profile.truth, {tenant.id: tenant.name for tenant in record.manifest.tenants}
    if remove:
        found = remove_leftovers(store.truth_dsn, truth, sent, cascade=cascade)
    else:
        found = find_leftovers(store.truth_dsn, truth, sent)
    return Cleaning(record.key.run_id, found, remove and bool(found.removable), names, tuple(notes))


def _require_scenarios(record: Record) -> tuple[str, ...]:
    """UsageError for an open pack that does not say yet what was sent; a note for one that never will."""
    if record.manifest.scenario_runs or record.manifest.verb != LOCUST:
        return ()
    if not record.pack.is_sealed:
        raise UsageError(f"{record.path} does not say yet what was sent: run `rig settle` on it, then clean")
    return ("the pack does not say what was sent, so only rows of tenants that the run made are found",)


def _store(record: Record, environ: Mapping[str, str], notes: list[str]) -> Store:
    """The run's database. UsageError where it is gone, ConfigError where the environment names another one."""
    facts, variable = record.manifest.fingerprint.get("database"), record.profile.truth.dsn_env
    if not isinstance(facts, Mapping):
        raise UsageError(f"{record.path}: this run reached no database, so there is nothing to clean")
    if facts.get("source") != variable:
        raise UsageError(
            f"{record.path}: the rig made this run's database ({facts.get('source')}), and it is gone: there is "
            "nothing to clean"
        )
    store = existing_store(record.profile, environ)
    try:
        require_same(store, facts)
    except EvidenceError as error:
        raise ConfigError(f"nothing was removed: {error}") from None
    if "name" not in facts:
        notes.append(f"the pack does not say which database it was: that of {variable} is taken for it")
    return store


def _sent(record: Record, notes: list[str]) -> SentByRun:
    """What tells the run's rows from others. Only the rig's own ids are proof that the run made a tenant."""
    profile, manifest = record.profile, record.manifest
    provisioned = bool(profile.tenants.provision_sql or profile.tenants.provision_command)
    made = tuple(
        tenant for tenant in manifest.tenants if provisioned and tenant.id == derive_id(record.key, tenant.name)
    )
    used = tuple(tenant for tenant in manifest.tenants if tenant not in made)
    if provisioned and (unseen := used if profile.tenants.rows else manifest.tenants):
        notes.append(f"tenants that the run had made stay: {_in_words(unseen)}; remove them by hand")
    try:
        baseline = record.baseline()
    except EvidenceError:
        baseline = Baseline({}, {})
    return SentByRun(
        _identities(record),
        tuple(tenant.id for tenant in made),
        tuple(tenant.id for tenant in used),
        baseline,
        profile.tenants.rows,
    )


def _identities(record: Record) -> tuple[tuple[str, str], ...]:
    """Key and correlation id of each request. Some keys of S10 follow from no number: they are in its report."""
    shapes, echoes = record.pack.shapes(), record.pack.echoes()
    sent = [run.scenario for run in record.manifest.scenario_runs]
    sent += echoes.scenarios if echoes is not None else ()
    if shapes is not None:
        sent += shapes.scenarios
    known = dict.fromkeys(identities(record.targeter, sent))
    keys = {key for key, _ in known}
    return (*known, *((each.key, "") for each in shapes.events if each.key not in keys)) if shapes else tuple(known)


def _in_words(tenants: tuple[Tenant, ...]) -> str:
    return ", ".join(f"{tenant.name} ({tenant.id})" for tenant in tenants)
