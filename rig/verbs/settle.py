"""Finishing what a crash, an interrupt or a lost database left: ``rig settle PACK``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rig.errors import EvidenceError, RigError, UsageError
from rig.evidence.hashes import walk
from rig.evidence.history import require_file_name
from rig.evidence.pack import Pack
from rig.evidence.sample_files import seal
from rig.locust_bridge.gather import gather
from rig.requests.targeter import Targeter
from rig.run.record import Finished, Record
from rig.run.steps import Reporter
from rig.target.launch import LOG
from rig.target.store import existing_store, require_same
from rig.truth.reader import TruthReader
from rig.verbs.sample import VERB as SAMPLE
from rig.verbs.sample import concluded


def settle(path: Path, environ: Mapping[str, str], reporter: Reporter) -> Finished:
    """Seal the rows, read the truth where it still exists, judge, seal the pack.

    UsageError for a pack that is finished or whose run still goes, EvidenceError for one that would have files outside
    of it written to. Where the truth cannot be read the verdicts are INVALID; the pack then stays open while its
    database may come back. What a run that was cut short has left undone stays undone: it passes nothing.
    """
    pack = Pack.open(path)
    if pack.sealed:
        raise UsageError(f"{path} is finished already; `rig check` judges it again")
    for _ in walk(pack.path):  # refuses links before anything is written through one
        pass
    if pack.manifest().verb == SAMPLE:
        return _samples(pack)
    record = Record.reopened(pack)
    record.secrets.learn_from(record.profile, environ)
    key = record.manifest.key
    if key is None:
        raise EvidenceError(f"{path} does not say what its keys derive from; nothing can be read for it")
    gather(record)
    for scenario_run in record.manifest.scenario_runs:
        require_file_name(scenario_run.scenario)
    targeter = Targeter(record.profile, key)
    reporter.stage("sealing what the workers wrote")
    seal(pack.samples_folder)
    for scenario_run in record.manifest.scenario_runs:
        record.seal_rows(scenario_run.scenario, targeter)
    waiting = False
    if record.manifest.scenario_runs and pack.load().truth is None:
        waiting = not _read_truth(record, targeter, environ, reporter)
    reporter.stage("judging and writing the evidence")
    return record.judged(seal=not waiting)


def _samples(pack: Pack) -> Finished:
    """Finish a pack of ``rig sample``, which has neither profile nor truth."""
    pack.hold()
    manifest = pack.manifest()
    seal(pack.samples_folder)
    return concluded(pack, manifest).finished


def _read_truth(record: Record, targeter: Targeter, environ: Mapping[str, str], reporter: Reporter) -> bool:
    """Read the truth now; False when it could not be read and may be later."""
    profile, manifest = record.profile, record.manifest
    facts = manifest.fingerprint.get("database")
    if not isinstance(facts, Mapping) or facts.get("source") != profile.truth.dsn_env:
        record.note("the run's own database ended with the run: its truth can never be read")
        return True
    reporter.stage("reading the truth")
    try:
        store = existing_store(profile, environ)
        require_same(store, facts)
        reader = TruthReader(profile, store.truth_dsn)
        if not (quiet := reader.quiesce()):
            raise EvidenceError(f"the truth was not read: the database was {quiet}")
        # A target that the rig launched said there what it said; a log that is gone cannot be called clean.
        logs = record.pack.logs_folder
        own = [logs / LOG] if profile.launch is not None else []
        files = (*store.log_files, *own, *sorted(logs.glob("*.log")))
        truth = reader.read(targeter, record.outcomes(), manifest.tenants, record.baseline(), files)
    except RigError as error:
        record.note(f"rig settle: {error}")
        return False
    record.pack.write_truth(truth)
    return True
