"""``rig prove --storms``: every protection of the storms' reference implementations, taken away once.

Flow: each ``Weakness`` is stormed on one server, with a pack of its own, and judged from its files; its cells are
compared as those of the seeded defects are (``rig.selftest.stages``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rig.machine.supervisor import Supervisor
from rig.run.conclude import conclude_on_error
from rig.run.job import Job
from rig.run.open_run import open_run
from rig.run.reporter import Reporter
from rig.selftest.matrix import Cell, Proof, cells_of, judge_pack
from rig.selftest.weaknesses import WEAKNESSES, Weakness
from rig.storms.catalog import let_loose
from rig.storms.environment import MAX_CONNECTIONS, StormOptions
from rig.target.postgres import open_cluster


def prove_storms(
    job: Job, chosen: Sequence[str], environ: Mapping[str, str], reporter: Reporter, repetition: int = 1
) -> Proof:
    """Storm with every weakness, or those of the ``chosen`` storms and cases; each leaves a pack."""
    cells: list[Cell] = []
    packs: dict[str, Path] = {}
    with (
        Supervisor() as supervisor,
        open_cluster(supervisor, environ=environ, max_connections=MAX_CONNECTIONS) as cluster,
    ):
        for weakness in _chosen(chosen):
            reporter.stage(weakness.name)
            opened = open_run(replace(job, verb="storm"), environ, reporter)
            record = opened.record
            cases = (weakness.case,) if weakness.case else ()
            order = StormOptions(weakness.processes, weakness.without, cases, weakness.subject)
            with conclude_on_error(record, "storm"):
                for report in let_loose(opened.storm_environment(cluster), weakness.storm, order):
                    record.pack.write_storm(report)
                record.mark_complete()
            packs[weakness.name] = record.judge(reports=False).pack
            cells += cells_of(weakness.name, weakness.cells(), judge_pack(packs[weakness.name]), repetition)
    return Proof(tuple(cells), packs)


def _chosen(names: Sequence[str]) -> tuple[Weakness, ...]:
    return tuple(w for w in WEAKNESSES if not names or w.storm in names or w.case in names)
