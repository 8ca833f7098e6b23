"""Finishing what a crash, an interrupt or a lost database left: ``rig settle PACK``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rig.engine.targeter import Targeter
from rig.errors import EvidenceError, RigError, UsageError
from rig.evidence.pack import Pack
from rig.locust_bridge.gather import gather
from rig.record import Finished, Record
from rig.run import Reporter
from rig.samplers.frames import seal
from rig.store import existing_store
from rig.truth.reader import TruthReader


def settle(path: Path, environ: Mapping[str, str], reporter: Reporter) -> Finished:
    """Seal the rows, read the truth where it still exists, judge, seal the pack.

    UsageError for a pack that is finished. Where the truth cannot be read the verdicts are INVALID; the pack then stays
    open while its database may come back.
    """
    pack = Pack.open(path)
    if pack.sealed:
        raise UsageError(f"{path} is finished already; `rig check` judges it again")
    record = Record.reopened(pack)
    key = record.manifest.key
    if key is None:
        raise EvidenceError(f"{path} does not say what its keys derive from; nothing can be read for it")
    gather(record)
    targeter = Targeter(record.profile, key)
    reporter.stage("sealing what the workers wrote")
    seal(pack.samples_folder)
    for drive in record.manifest.drives:
        record.seal_rows(drive.scenario, targeter)
    waiting = False
    if record.manifest.drives and pack.load().truth is None:
        waiting = not _read_truth(record, targeter, environ, reporter)
    reporter.stage("judging and writing the evidence")
    return record.judged(seal=not waiting)


def _read_truth(record: Record, targeter: Targeter, environ: Mapping[str, str], reporter: Reporter) -> bool:
    """Read the truth now; False when it could not be read and may be later."""
    profile, manifest = record.profile, record.manifest
    if profile.launch is not None and profile.truth.dsn_env not in environ:
        record.note("the run's own database ended with the run: its truth can never be read")
        return True
    reporter.stage("reading the truth")
    try:
        store = existing_store(profile, environ)
        reader = TruthReader(profile, store.truth_dsn)
        if not (quiet := reader.quiesce()):
            raise EvidenceError(f"the truth was not read: the database was {quiet}")
        files = (*store.log_files, *profile.target.log_files)
        truth = reader.read(targeter, record.outcomes(), manifest.tenants, record.baseline(), files)
    except RigError as error:
        record.note(f"rig settle: {error}")
        return False
    record.pack.write_truth(truth)
    return True
