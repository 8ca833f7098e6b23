"""``rig settle PACK``: finish what a crash, an interrupt or a lost database left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rig.errors import RigError, UsageError
from rig.evidence.hashes import walk
from rig.evidence.history import require_file_name
from rig.evidence.pack import Pack
from rig.evidence.sample_files import seal
from rig.locust_bridge.gather import gather
from rig.run.read_truth import read_truth
from rig.run.record import FinishedRun, Record
from rig.run.reporter import Reporter
from rig.target.launch import LOG
from rig.target.store import existing_store, require_same
from rig.truth.reader import TruthReader
from rig.verbs.sample import VERB as SAMPLE
from rig.verbs.sample import judge_samples
from scenarios.mix import MIX


def settle(path: Path, environ: Mapping[str, str], reporter: Reporter) -> FinishedRun:
    """Seal the rows, read the truth where it still exists, judge, seal the pack.

    UsageError for a pack that is finished or whose run is still going on, EvidenceError for a pack that links to files
    outside itself. Where the truth cannot be read now but may be later, the verdicts are INVALID and the pack stays
    open. A run that was cut short still passes nothing.
    """
    pack = Pack.open(path)
    if pack.is_sealed:
        raise UsageError(f"{path} is finished already; `rig check` judges it again")
    for _ in walk(pack.path):  # refuses links before anything is written through one
        pass
    if pack.manifest().verb == SAMPLE:  # it has neither profile nor truth
        pack.hold()
        seal(pack.samples_folder)
        return judge_samples(pack, pack.manifest()).finished
    record = Record.reopen(pack)
    record.secrets.learn_from(record.profile, environ)
    _ = record.key  # a pack that lacks it cannot be finished
    seal(pack.samples_folder)
    gather(record, MIX)
    for scenario_run in record.manifest.scenario_runs:
        require_file_name(scenario_run.scenario)
    reporter.stage("sealing what the workers wrote")
    record.seal_all_rows()
    if record.manifest.scenario_runs and pack.load().truth is None:
        _read_truth(record, environ, reporter)
    reporter.stage("judging and writing the evidence")
    return record.judge()


def _read_truth(record: Record, environ: Mapping[str, str], reporter: Reporter) -> None:
    """Read the truth now; where it cannot be read and may be later, the pack stays open."""
    profile = record.profile
    facts = record.manifest.fingerprint.get("database")
    if not isinstance(facts, Mapping) or facts.get("source") != profile.truth.dsn_env:
        record.note("the run's own database ended with the run: its truth can never be read")
        return
    reporter.stage("reading the truth")
    try:
        store = existing_store(profile, environ)
        require_same(store, facts)
        # A target that the rig launched wrote its log there. A log that is gone must not be called clean.
        logs = record.pack.logs_folder
        own = [logs / LOG] if profile.launch is not None else []
        files = (*store.log_files, *own, *sorted(logs.glob("*.log")))
        read_truth(record, TruthReader(profile, store.truth_dsn, store.runtime_dsn), files)
    except RigError as error:
        record.note(f"rig settle: {error}")
        record.stays_open = True
