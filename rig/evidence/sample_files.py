"""The samplers' files: journals while they run, Parquet afterwards.

Flow: ``seal`` turns the journals of a folder into one Parquet file per table and ``reports.json``, and removes them.
``read_samples`` reads either form, so that a pack that a crash left can be judged, too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from rig.errors import EvidenceError
from rig.evidence.journal import FAILURE, REPORT, JournalLine, read_journal
from rig.evidence.parquet import read_frame, write_frame
from rig.evidence.samples import COLUMNS, SamplerReport, Samples, with_types

SUFFIX = ".jsonl"
_REPORTS = "reports.json"
_UNFINISHED = ".unfinished"


def journal_path(folder: Path, sampler: str) -> Path:
    """Where a sampler writes."""
    return folder / (sampler + SUFFIX)


def seal(folder: Path) -> None:
    """Turn the journals into Parquet. EvidenceError where it cannot be written. Without journals nothing changes."""
    journals = _journals(folder)
    if not journals:
        return
    samples = _from_journals(journals)
    try:
        for table in COLUMNS:
            frame: pd.DataFrame = getattr(samples, table)
            if len(frame):
                unfinished = folder / (table + _UNFINISHED)
                write_frame(frame, unfinished)
                unfinished.replace(folder / f"{table}.parquet")
        reports = [asdict(report) for report in samples.reports]
        (folder / _REPORTS).write_text(json.dumps(reports, indent=2) + "\n")
        for journal in journals:  # as long as there is one, read_samples reads it
            journal.unlink()
    except OSError as error:
        raise EvidenceError(f"samples cannot be written to {folder}: {error}") from None


def read_samples(folder: Path) -> Samples:
    """All samples, empty where nothing was sampled. EvidenceError where a file is damaged."""
    if journals := _journals(folder):
        return _from_journals(journals)
    if not (folder / _REPORTS).exists():
        return Samples()
    frames = {table: _parquet(folder / f"{table}.parquet", table) for table in COLUMNS}
    try:
        reports = TypeAdapter(tuple[SamplerReport, ...]).validate_json((folder / _REPORTS).read_bytes())
    except (OSError, ValidationError) as error:
        raise EvidenceError(f"{folder / _REPORTS} is damaged: {error}") from None
    return Samples(**frames, reports=reports)


def _journals(folder: Path) -> list[Path]:
    return sorted(folder.glob("*" + SUFFIX))


def _parquet(path: Path, table: str) -> pd.DataFrame:
    return (
        read_frame(path, tuple(COLUMNS[table]), partial(with_types, table)) if path.exists() else with_types(table, [])
    )


def _from_journals(journals: list[Path]) -> Samples:
    try:
        return samples_of({journal.name.removesuffix(SUFFIX): read_journal(journal) for journal in journals})
    except Exception as error:  # a hostile file may raise anything
        raise EvidenceError(f"a journal in {journals[0].parent} is damaged: {type(error).__name__}: {error}") from None


def samples_of(said_by: Mapping[str, Iterable[JournalLine]]) -> Samples:
    """The lines of journals, by the sampler that wrote them, as frames."""
    rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    reports = []
    for sampler, lines in said_by.items():
        said: dict[str, Any] = {}
        failure = ""
        for table, at_ns, content in lines:
            if table == REPORT:
                said = dict(content)
            elif table == FAILURE:
                failure = failure or content
            else:
                head = (sampler, at_ns) if table in ("ticks", "gaps") else (at_ns,)
                rows[table].extend((*head, *row) for row in content)
        if not said.pop("final", False):
            failure = failure or "it ended without a last report"
        reports.append(
            SamplerReport(name=sampler, **{**said, "unseen": tuple(said.get("unseen", ()))}, failure=failure)
        )
    frames = {table: with_types(table, rows[table]) for table in COLUMNS if rows[table]}
    return Samples(**frames, reports=tuple(reports))
