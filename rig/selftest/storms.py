"""``rig prove --storms``: every protection of the storms' reference implementations, taken away once.

Flow: one storm for each ``Weakness``, all on one server, each with a pack of its own that is judged from its files. The
verdicts are compared with the expected ones as for the seeded defects (``rig.selftest.stages``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rig.machine.supervisor import Supervisor
from rig.run.job import Job
from rig.run.open_run import open_run
from rig.run.record import conclude_on_error
from rig.run.reporter import Reporter
from rig.run.storms import run_storm_step, storm_server
from rig.selftest.matrix import Cell, Proof, cells_of, judge_pack
from rig.selftest.weaknesses import WEAKNESSES
from rig.storms.environment import StormOptions


def prove_storms(
    job: Job, chosen: Sequence[str], environ: Mapping[str, str], reporter: Reporter, repetition: int = 1
) -> Proof:
    """Run a storm for every weakness, or for those of the ``chosen`` storms and cases; each leaves a pack."""
    cells: list[Cell] = []
    packs: dict[str, Path] = {}
    weaknesses = [one for one in WEAKNESSES if not chosen or one.storm in chosen or one.case in chosen]
    with Supervisor() as supervisor, storm_server(supervisor, environ) as cluster:
        for weakness in weaknesses:
            reporter.stage(weakness.name)
            opened = open_run(replace(job, verb="storm"), environ, reporter)
            cases = (weakness.case,) if weakness.case else ()
            options = StormOptions(weakness.processes, weakness.without, cases, weakness.subject)
            with conclude_on_error(opened.record, "storm"):
                list(run_storm_step(opened, cluster, weakness.storm, options))
                opened.record.mark_complete()
            packs[weakness.name] = opened.record.judge(reports=False).pack
            cells += cells_of(weakness.name, weakness.cells(), judge_pack(packs[weakness.name]), repetition)
    return Proof(tuple(cells), packs)
