"""A scoreboard as a step of a run: one storm against each subject of a list, and the table of what they came to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rig.checks.subject_table import SubjectRow, as_document, as_markdown, row_of
from rig.errors import EvidenceError, RigError
from rig.evidence.key_storm import KeyStorm
from rig.evidence.storm import UNKNOWN_KID, StormReport
from rig.run.open_run import OpenRun
from rig.storms.catalog import run_storm
from rig.storms.environment import StormOptions
from rig.storms.subject_list import ListedSubject, OpenSubject, SubjectList, open_subject, read_list
from rig.target.postgres import Cluster


def run_scoreboard(
    opened: OpenRun, cluster: Cluster, storm: str, path: Path, options: StormOptions
) -> list[SubjectRow]:
    """Run the storm against every subject of the list; a row for each. Reports and table are in the pack.

    ConfigError where the list is wrong. A subject that cannot be tested is NOT-RUN by name.
    """
    listed = read_list(path)
    rows = []
    for subject in listed.subjects:
        opened.reporter.stage(f"{storm}: {subject.name}")
        found = open_subject(listed, subject, storm, path)
        reports, problem = [], found.problem
        try:
            for report in _reports(opened, cluster, storm, listed, subject, found, options, path.resolve().parent):
                opened.record.pack.write_storm(report)
                reports.append(report)
        except EvidenceError:  # nothing more can be written down
            raise
        except RigError as error:
            problem = opened.record.secrets.blank(str(error))
        rows.append(row_of(subject.name, found.version, subject.note, reports, problem))
    _write(opened, listed, storm, rows)
    return rows


def _reports(
    opened: OpenRun,
    cluster: Cluster,
    storm: str,
    listed: SubjectList,
    subject: ListedSubject,
    found: OpenSubject,
    options: StormOptions,
    folder: Path,
) -> Iterator[StormReport | KeyStorm]:
    if found.profile is None:
        return
    environment = opened.storm_environment(cluster)
    environment = replace(environment, profile=found.profile, profile_dir=folder)
    asked = StormOptions(
        processes=options.processes or subject.processes or listed.processes,
        cases=(options.cases or subject.cases or listed.cases) if storm == UNKNOWN_KID else (),
        key_ids=listed.key_ids,
        libraries=found.libraries,
    )
    for report in run_storm(environment, storm, asked):
        if isinstance(report, KeyStorm):
            yield replace(report, subject=found.label, display_only=True, asked=False, note=subject.note)
        else:
            yield replace(report, subject=found.label, display_only=True, asked=False)


def _write(opened: OpenRun, listed: SubjectList, storm: str, rows: Sequence[SubjectRow]) -> None:
    """The table as Markdown and as JSON."""
    settings = f"{listed.processes} processes each, unless a subject says otherwise"
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    pack = opened.record.pack
    pack.write("scoreboard.md", as_markdown(listed.title, storm, settings, when, rows).encode())
    document = as_document(listed.title, storm, settings, rows)
    pack.write("scoreboard.json", (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())
