"""The step that reads the truth: once the database is quiet its rows, some seconds later once more, then the logs.

A target that the rig stops is stopped between the two: its last log lines come with its end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rig.errors import EvidenceError
from rig.evidence.chaos import S11, WrongEvent
from rig.evidence.truth import TruthReport
from rig.run.record import Record
from rig.target.store import Store
from rig.truth.reader import RowsRead, TruthReader


def read_truth(record: Record, reader: TruthReader, log_files: Sequence[Path], last_look_s: float = 0.0) -> None:
    """Rows and logs of a target that runs on, or is gone. EvidenceError where they cannot be read."""
    ended_s = time.monotonic()
    rows = read_again(record, reader, read_rows(record, reader), ended_s, last_look_s)
    search_logs(record, reader, rows.truth, log_files)


def read_again(record: Record, reader: TruthReader, rows: RowsRead, ended_s: float, last_look_s: float) -> RowsRead:
    """The same with what has become of the rows ``last_look_s`` after the load; 0: nobody looks."""
    if not last_look_s:
        return rows
    time.sleep(max(0.0, ended_s + last_look_s - time.monotonic()))
    return reader.read_again(rows, record.sent_requests(), record.baseline())


def read_rows(record: Record, reader: TruthReader, ended_s: float | None = None) -> RowsRead:
    """What lies in the database once the rows are there. EvidenceError where it cannot be read."""
    sent = record.sent_requests()
    left = reader.require_arrival(sent, ended_s)
    return reader.read_rows(sent, record.baseline(), left)


def search_logs(record: Record, reader: TruthReader, rows: TruthReport, log_files: Sequence[Path]) -> None:
    """Search the logs for personal data and write the whole truth into the pack."""
    scenarios = [scenario_run.scenario for scenario_run in record.manifest.scenario_runs]
    marks = record.baseline().logs
    record.pack.write_truth(reader.search_logs(rows, record.targeter, scenarios, log_files, marks))
    _keep_wrong_events(record, rows)


@contextmanager
def keep_open_on_error(record: Record, store: Store) -> Iterator[None]:
    """Note an EvidenceError and go on. Where the database outlives the run, the pack stays open for `rig settle`."""
    try:
        yield
    except EvidenceError as error:
        record.note(str(error))
        record.stays_open = store.lasting


def _keep_wrong_events(record: Record, truth: TruthReport) -> None:
    """Write into the pack which events of S11 have wrong rows, by the numbers of their requests."""
    report = record.pack.chaos()
    kinds = {each.key: each.kind for each in truth.discrepancies if each.scenario == S11}
    if report is None or not kinds:
        return
    found = []
    for each in record.manifest.scenario_runs:
        if each.scenario.id == S11:
            targets = record.targeter.bind(each.scenario)
            found += [
                WrongEvent(seq, expected.key, kind)
                for seq in range(each.scenario.count)
                for expected in targets.expect_all(seq)
                if (kind := kinds.get(expected.key) or kinds.get(expected.correlation))
            ]
    record.pack.write_chaos(replace(report, wrong=tuple(found)))
