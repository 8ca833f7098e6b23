"""Makes scenario runs of the accounts of a locust run: what the workers handed over, checked, goes into the manifest.

A worker that gave no account, or whose rows are not those of its account, has no report in its scenario runs. All that
it may have sent is then unreported: that takes it out of lost and unexpected, and makes the claims INVALID.
What the machine did meanwhile is taken from the samplers, whose files must be sealed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rig.diagnose import cpu
from rig.evidence.locust_run import BatchAccount, LocustRun, MasterAccount, WorkerSeen
from rig.evidence.sample_files import read_samples
from rig.evidence.scenario_runs import ScenarioRun
from rig.locust_bridge.batches import FIRST_CREDIT, batch_scenario
from rig.model import Scenario, UserClass
from rig.run.record import Record


def gather(record: Record, unlisted: Sequence[UserClass] = ()) -> None:
    """Put the scenario runs of a locust run into the manifest of its pack; nothing where locust did not lead the run.

    ``unlisted``: the user classes of a pack that does not name them, as packs of 0.1 do not.
    """
    locust_run = record.pack.locust_run()
    if locust_run is None or record.manifest.scenario_runs:
        return
    samples = read_samples(record.pack.samples_folder)
    scenario_runs = tuple(
        replace(run, machine=cpu.interval(samples, *run.span_ns))
        for run in _scenario_runs(locust_run, record, unlisted)
    )
    record.amend(scenario_runs=scenario_runs, notes=(*record.manifest.notes, *locust_run.master.notes))


def _scenario_runs(locust_run: LocustRun, record: Record, unlisted: Sequence[UserClass] = ()) -> Iterator[ScenarioRun]:
    master = locust_run.master
    accounts = {account.number: account for account in locust_run.workers}
    fixed: dict[int, BatchAccount] = {}
    for seen in master.workers:
        account = None if seen.lost else accounts.get(seen.number)
        if account is None:
            why = f"worker {seen.number} {seen.lost or 'gave no final account'}"
            possible = _possible(seen, master, master.user_classes or unlisted)
            yield from (ScenarioRun(scenario, (None,), notes=(why,)) for scenario in possible)
            continue
        for part in account.batches:
            if master.fixed is not None and part.scenario.label == master.fixed.label:
                fixed[seen.number] = part
            else:
                yield _run_scenario(record, seen.number, part)
    if master.fixed is not None:
        yield _fixed_scenario_run(record, master, master.fixed, fixed)


def _run_scenario(record: Record, worker: int, part: BatchAccount) -> ScenarioRun:
    if fault := find_damage(record.history.rows_file(part.scenario, worker), part):
        return ScenarioRun(part.scenario, (None,), notes=(f"worker {worker}: {fault}",))
    return ScenarioRun(part.scenario, (part.report,), interrupted=part.interrupted)


def _fixed_scenario_run(
    record: Record, master: MasterAccount, scenario: Scenario, parts: dict[int, BatchAccount]
) -> ScenarioRun:
    """The scenario that all workers shared which were there in time; one without an account has none here either."""
    faults = {number: find_damage(record.history.rows_file(scenario, number), part) for number, part in parts.items()}
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


def find_damage(path: Path, part: BatchAccount) -> str:
    """Why the rows of a batch are not those that its worker accounts for; the file goes then. Empty when they are."""
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


def _possible(seen: WorkerSeen, master: MasterAccount, user_classes: Sequence[UserClass]) -> Iterator[Scenario]:
    """Every batch that a lost worker may have used: those that it had credit for, and those that need none."""
    for user_class in user_classes:
        for stream in range(len(user_class.streams)):
            for number in range(max(FIRST_CREDIT, seen.credit.get(user_class.name, 0))):
                whole = batch_scenario(
                    user_class,
                    stream,
                    number,
                    worker=seen.number,
                    route=master.route,
                    tenant=master.tenant,
                    timeout_s=master.timeout_s,
                )
                yield replace(whole, title=f"{whole.title} (lost)")
