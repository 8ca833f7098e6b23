"""From the books of a crowd to the drives of a run: what the workers handed over, checked, goes into the manifest.

A worker that gave no account, or whose rows are not those that it accounts for, has no report in its drives: all that
it may have sent is then unreported, which takes it out of lost and unexpected and makes the claims INVALID.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rig.evidence.locust_run import BlockAccount, Crowd, MasterAccount, WorkerSeen
from rig.evidence.scenario_runs import ScenarioRun
from rig.locust_bridge.batches import FIRST_BLOCKS
from rig.model import Scenario
from rig.run.record import Record
from scenarios.mix import CLASSES, block


def gather(record: Record) -> None:
    """Put the drives of a crowd into the manifest of its pack; nothing where locust did not lead the run."""
    crowd = record.pack.crowd()
    if crowd is None or record.manifest.scenario_runs:
        return
    scenario_runs = tuple(_drives(crowd, record))
    record.amend(scenario_runs=scenario_runs, notes=(*record.manifest.notes, *crowd.master.notes))


def _drives(crowd: Crowd, record: Record) -> Iterator[ScenarioRun]:
    accounts = {account.number: account for account in crowd.workers}
    fixed: dict[int, BlockAccount] = {}
    for seen in crowd.master.workers:
        account = None if seen.lost else accounts.get(seen.number)
        if account is None:
            why = f"worker {seen.number} {seen.lost or 'gave no final account'}"
            yield from (ScenarioRun(scenario, (None,), notes=(why,)) for scenario in _possible(seen, crowd.master))
            continue
        for part in account.blocks:
            if crowd.master.fixed is not None and part.scenario.label == crowd.master.fixed.label:
                fixed[seen.number] = part
            else:
                yield _run_scenario(record, seen.number, part)
    if crowd.master.fixed is not None:
        yield _fixed_scenario_run(record, crowd.master, crowd.master.fixed, fixed)


def _run_scenario(record: Record, worker: int, part: BlockAccount) -> ScenarioRun:
    if fault := _damage(record.history.rows_file(part.scenario, worker), part):
        return ScenarioRun(part.scenario, (None,), notes=(f"worker {worker}: {fault}",))
    return ScenarioRun(part.scenario, (part.report,), interrupted=part.interrupted)


def _fixed_scenario_run(
    record: Record, master: MasterAccount, scenario: Scenario, parts: dict[int, BlockAccount]
) -> ScenarioRun:
    """The scenario that all workers shared which were there in time; one without an account has none here either."""
    faults = {number: _damage(record.history.rows_file(scenario, number), part) for number, part in parts.items()}
    whole = {number: part for number, part in parts.items() if not faults[number]}
    sharing = [seen for seen in master.workers if not seen.late]
    missing = [seen for seen in sharing if seen.number not in whole]
    return ScenarioRun(
        scenario,
        tuple(whole[seen.number].report if seen.number in whole else None for seen in sharing),
        interrupted=any(part.interrupted for part in whole.values()),
        notes=tuple(
            f"worker {seen.number} {seen.lost or faults.get(seen.number) or 'gave no final account'}"
            for seen in missing
        ),
    )


def _damage(path: Path, part: BlockAccount) -> str:
    """Why the rows of a block are not those that its worker accounts for; the file goes then. Empty when they are."""
    sealed = path.parent.parent / f"{part.scenario.label}.parquet"
    if sealed.exists():  # sealed before a crash: what was sealed was whole
        return ""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "its rows are missing" if part.rows else ""
    if found == part.sha256:
        return ""
    path.unlink()
    return "its rows are not those that it accounts for"


def _possible(seen: WorkerSeen, master: MasterAccount) -> Iterator[Scenario]:
    """Every block that a lost worker may have used: it opens none that it has not announced, but for the first."""
    for name, user_class in CLASSES.items():
        for strand in range(len(user_class.strands)):
            for number in range(max(FIRST_BLOCKS, seen.announced.get(name, 0))):
                whole = block(
                    user_class,
                    strand,
                    number,
                    worker=seen.number,
                    route=master.route,
                    tenant=master.tenant,
                    timeout_s=master.timeout_s,
                )
                yield replace(whole, title=f"{whole.title} (lost)")
