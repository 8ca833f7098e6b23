"""``isolation`` and ``durable_tables``: what the database itself promises of the event tables.

Both judge what was read of the catalog after the load; ``isolation`` also judges trials as the target's own role.
"""

from __future__ import annotations

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import NOT_READ, Case
from rig.evidence.gate import Gate
from rig.evidence.isolation import Durability, IsolationReport

_NAMED = 5

ISOLATION = GateKind(
    "isolation",
    Kind.TRUTH,
    "row-level security is on and forced on each event table and binds the target's role, which neither sees nor "
    "writes rows of another tenant",
)
DURABLE_TABLES = GateKind(
    "durable_tables",
    Kind.TRUTH,
    "each event table is logged, so that a crash of the database loses no acknowledged row",
)


@emits(ISOLATION, DURABLE_TABLES)
def check_isolation(case: Case) -> list[Gate]:
    """NOT-RUN where the profile does not promise row-level security, or does not say how the target connects."""
    truth, promised = case.truth, (case.profile.get("truth") or {}).get("isolation")
    if truth is None:
        own = ISOLATION.decide({}, unproven=NOT_READ) if promised else _without_promise()
        return [own, DURABLE_TABLES.decide({}, unproven=NOT_READ)]
    if truth.durability is None:
        return []  # a pack of a rig that did not look
    report = truth.isolation
    if not promised:
        isolation = _without_promise()
    elif report is None:
        isolation = ISOLATION.not_run("it is not known how the target connects (truth.runtime_dsn_env)")
    else:
        isolation = _isolation_gate(report)
    return [isolation, _durability_gate(truth.durability)]


def _without_promise() -> Gate:
    return ISOLATION.not_run("the profile does not promise row-level security ([truth.isolation])")


def _isolation_gate(report: IsolationReport) -> Gate:
    tried = [trial for trial in report.trials if not trial.untried]
    untried = [f"{trial.table}: {trial.what}: {trial.untried}" for trial in report.trials if trial.untried]
    silent = [f"{policy} of {table.name}" for table in report.tables for policy in table.silent_policies]
    figures: dict[str, object] = {
        "role": report.role,
        "tables": len(report.tables),
        "trials": len(tried),
        "refused": sum(bool(trial.refused) for trial in tried),
        **({"policies_without_the_setting": silent} if silent else {}),
        **({"not_tried": untried} if untried else {}),
    }
    if faults := report.faults:
        figures["faults"] = list(faults)
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        return ISOLATION.decide(figures, wrong="; ".join(faults[:_NAMED]) + more)
    if report.untried:
        return ISOLATION.decide(figures, unproven=report.untried)
    if not tried:
        return ISOLATION.not_run("; ".join(untried[:1]) or "no event table could be tried", figures)
    return ISOLATION.decide(figures)


def _durability_gate(durability: Durability) -> Gate:
    figures: dict[str, object] = {"tables": durability.tables, **durability.settings}
    names = ", ".join(durability.unlogged)
    wrong = f"a crash of the database empties {names}: run ALTER TABLE … SET LOGGED" if names else ""
    if not durability.tables:
        return DURABLE_TABLES.not_run("the profile names no table, only statements that read none", figures)
    return DURABLE_TABLES.decide(figures, wrong=wrong)
