"""``rig prove``: every gate against seeded defects. A gate that cannot turn red proves nothing, one that turns red at
everything proves as little.

Flow: the defects of service, instrument, evidence and crowd (``rig.selftest.stages``), then the storms with each of
their protections taken away (``rig.selftest.storms``); each run leaves a pack and is judged as any other. What a defect
declares to be red and green are the cells, and their share that is right is the score. That no gate is without a defect
is held by a test over ``rig.selftest.catalog``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rig.errors import UsageError
from rig.evidence.storm import STORMS
from rig.machine.extras import missing, require
from rig.run.job import Job
from rig.run.reporter import Reporter
from rig.selftest.defects import DEFECTS, OF_THE_CROWD
from rig.selftest.matrix import Proof, together
from rig.selftest.stages import prove_defects
from rig.selftest.storms import prove_storms
from rig.selftest.weaknesses import WEAKNESSES

DEFECT_NAMES = tuple(defect.name for defect in DEFECTS)
STORM_NAMES = tuple(dict.fromkeys([*STORMS, *(weakness.case for weakness in WEAKNESSES if weakness.case)]))


def prove(
    job: Job,
    chosen: Sequence[str],
    environ: Mapping[str, str],
    reporter: Reporter,
    *,
    storms_only: bool = False,
    repetitions: int = 1,
) -> Proof:
    """Run everything, or the ``chosen`` defects, storms and cases, so many times; each run leaves a pack.

    A client that is not certified ends it. UsageError before anything starts for a name that is none, or of a crowd's
    defect where locust is not installed.
    """
    defects, storms = _sorted(chosen, storms_only=storms_only)
    if any(defect.name in defects for defect in OF_THE_CROWD):
        require("locust", "locust")
    if not (chosen or storms_only) and (why := missing("locust", "locust")):
        reporter.stage(f"the crowd's defects will not be tried, so the whole cannot pass: {why}")
    proofs = []
    for repetition in range(1, repetitions + 1):
        if defects or not (chosen or storms_only):
            proofs.append(prove_defects(job, defects, environ, reporter, repetition))
            if proofs[-1].refused is not None:
                break
        if storms or not chosen:
            proofs.append(prove_storms(job, storms, environ, reporter, repetition))
    return together(proofs)


def _sorted(names: Sequence[str], *, storms_only: bool) -> tuple[list[str], list[str]]:
    """The defects and the storms among some names."""
    known = STORM_NAMES if storms_only else (*DEFECT_NAMES, *STORM_NAMES)
    for name in names:
        if name not in known:
            what = "storm" if storms_only else "defect, storm or case"
            raise UsageError(f"{name!r} is no {what}; known are {', '.join(known)}")
    return [name for name in names if name in DEFECT_NAMES], [name for name in names if name in STORM_NAMES]
