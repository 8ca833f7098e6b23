"""``rig storm``: one storm with a pack of its own, without load and without a null benchmark.

A storm claims how often things happened, not how fast: a slow client cannot make a fleet look better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rig.checks.key_storms.gates import figures_of
from rig.checks.subject_table import SubjectRow
from rig.evidence.key_storm import KeyStorm
from rig.evidence.storm import UNKNOWN_KID, StormReport
from rig.machine.supervisor import Supervisor
from rig.run.job import Job
from rig.run.leak_check import look_after, look_before
from rig.run.open_run import open_run
from rig.run.record import FinishedRun, conclude_on_error
from rig.run.reporter import Reporter
from rig.run.scoreboard import run_scoreboard
from rig.run.storms import run_storm_step, storm_server
from rig.storms.catalog import require
from rig.storms.environment import StormOptions
from rig.storms.subject_list import read_list


@dataclass(frozen=True, slots=True)
class FinishedStorm:
    """A storm that came to its end, with a report for each of its cases."""

    finished: FinishedRun
    reports: tuple[StormReport | KeyStorm, ...]
    rows: tuple[SubjectRow, ...] = ()
    """Of the subjects of a list."""

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints: as every verb, and the figures; those of several cases by their labels."""
        if self.rows:
            return self.finished.document() | {"scoreboard": [asdict(row) for row in self.rows]}
        figures = {report.label: _figures(report) for report in self.reports}
        (only,) = figures.values() if len(figures) == 1 else (figures,)
        return self.finished.document() | {"figures": only}


def storm(
    job: Job,
    name: str,
    options: StormOptions,
    environ: Mapping[str, str],
    reporter: Reporter,
    subjects: Path | None = None,
) -> FinishedStorm:
    """Run a storm and judge it. RigError when it cannot begin.

    ``subjects`` is a list (``rig.storms.subject_list``): then it is run against each of them, and none is judged.
    """
    if subjects is None:
        require(job.profile, job.profile_dir, name, options)
    else:
        read_list(subjects)
    if name == UNKNOWN_KID:
        job.require_requests(options.key_ids * (options.processes or 1))
    opened = open_run(job, environ, reporter)
    record = opened.record
    leak_findings = look_before()
    reports: list[StormReport | KeyStorm] = []
    rows: list[SubjectRow] = []
    interrupted = False
    with conclude_on_error(record, "storm"):
        with Supervisor() as supervisor:
            try:
                reporter.stage("preparing PostgreSQL")
                with storm_server(supervisor, environ, record.pack.logs_folder / "postgresql.log") as cluster:
                    reporter.stage(f"storm: {name}")
                    if subjects is None:
                        reports.extend(run_storm_step(opened, cluster, name, options))
                    else:
                        rows.extend(run_scoreboard(opened, cluster, name, subjects, options))
            except KeyboardInterrupt:
                interrupted = True
                record.mark_cut_short("the storm was interrupted")
            leak_findings += look_after(supervisor)
        record.pack.write_leak_findings(leak_findings)
        if not interrupted:
            record.mark_complete()
        return FinishedStorm(record.judge(interrupted=interrupted), tuple(reports), tuple(rows))


def _figures(report: StormReport | KeyStorm) -> dict[str, Any]:
    if isinstance(report, KeyStorm):
        return figures_of(report)
    return {**report.figures, "processes": report.processes, "skew_ns": report.skew_ns}
