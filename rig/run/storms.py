"""Storms as a step of a run: on a PostgreSQL server of their own, with their reports in the run's pack.

``rig storm`` runs one storm, ``rig prove`` one for each protection, and ``rig run`` the few short ones that belong to a
whole run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rig.checks.key_storms.gates import storm_gates
from rig.checks.race_tests.catalog import gates_of
from rig.errors import EvidenceError, RigError
from rig.evidence.key_storm import KeyStorm
from rig.evidence.storm import UNKNOWN_KID, StormReport, missing_section
from rig.machine.supervisor import Supervisor
from rig.run.open_run import OpenRun
from rig.storms.catalog import run_storm
from rig.storms.environment import StormOptions
from rig.storms.unknown_kid.cases import CASES
from rig.target.postgres import Cluster, open_cluster

SHORT: Mapping[str, StormOptions] = {UNKNOWN_KID: StormOptions(processes=8, cases=("random-kids",))}
"""Storms of a whole run: under ten seconds in all, on two cores."""
_MAX_CONNECTIONS = 300
"""A fleet opens many connections. They are counted, and must not run out."""


@contextmanager
def storm_server(supervisor: Supervisor, environ: Mapping[str, str], log_file: Path | None = None) -> Iterator[Cluster]:
    """A PostgreSQL server for storms, for the time of the context."""
    with open_cluster(supervisor, environ=environ, log_file=log_file, max_connections=_MAX_CONNECTIONS) as cluster:
        yield cluster


def run_storm_step(
    opened: OpenRun, cluster: Cluster, name: str, options: StormOptions
) -> Iterator[StormReport | KeyStorm]:
    """Run a storm; the report of each case is in the pack as the case ends, and what failed is told."""
    for report in run_storm(opened.storm_environment(cluster), name, options):
        opened.record.pack.write_storm(report)
        if not report.display_only:
            gates = storm_gates(report) if isinstance(report, KeyStorm) else gates_of(report)
            opened.reporter.tell_failures(gates)
        yield report


def run_short_storms(opened: OpenRun, supervisor: Supervisor) -> None:
    """Run the storms of a whole run; where the profile has no section for them, say so in the pack.

    Where a storm cannot start, the storm alone is INVALID; the run's other findings stay.
    """
    record = opened.record
    if not opened.job.profile.storms.unknown_kid:
        record.pack.write_storm(missing_section(UNKNOWN_KID))
        return
    opened.reporter.stage("storms")
    left = set(SHORT[UNKNOWN_KID].cases)
    try:
        with storm_server(supervisor, opened.environ, record.pack.logs_folder / "postgresql-storms.log") as cluster:
            for name, options in SHORT.items():
                for report in run_storm_step(opened, cluster, name, options):
                    left.discard(report.case)
    except EvidenceError:  # nothing more can be written down
        raise
    except RigError as error:
        reason = record.secrets.blank(str(error))  # it may quote what the storm started
        record.note(f"the storms could not go on: {reason}")
        for case in left:
            story = CASES[case](None).story
            record.pack.write_storm(KeyStorm(case=case, story=story, not_run=reason, asked=True))
