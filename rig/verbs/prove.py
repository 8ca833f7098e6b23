"""``rig prove``: every gate against injected defects. A gate that cannot turn red proves nothing, and neither does one
that turns red at everything.

Flow: the defects of service, instrument, evidence and locust runs (``rig.selftest.defects``), and the storms with each
of their protections taken away (``rig.selftest.weaknesses``). First come the defects that need the machine for
themselves; beside the others go the storms, dealt to two processes. Each run leaves a pack and is judged as any other.
The gates that a defect declares red or green are the mutation matrix, and the share of it that came out so is the
score. A test over ``rig.selftest.catalog`` sees to it that no gate is without a defect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rig.checks.race_tests.catalog import STORMS
from rig.errors import UsageError
from rig.run.job import Job
from rig.run.reporter import Reporter
from rig.selftest.defects import DEFECTS, OLD_NAMES, add_healthy_runs
from rig.selftest.lane import Lane
from rig.selftest.matrix import Proof, join_proofs
from rig.selftest.stages import Defect, prove_defects
from rig.selftest.weaknesses import WEAKNESSES, Weakness, prove_storms

_LANES = 2
"""Of the storms. They mostly wait; with the defects beside them two keep two cores busy."""
_STORM_NAMES = tuple(dict.fromkeys([*STORMS, *(weakness.case for weakness in WEAKNESSES if weakness.case)]))


def prove(
    job: Job,
    chosen: Sequence[str],
    environ: Mapping[str, str],
    reporter: Reporter,
    *,
    storms_only: bool = False,
    part: str = "",
    repetitions: int = 1,
) -> Proof:
    """Run everything, or the ``chosen`` defects, storms and cases, so many times; each run leaves a pack.

    ``part`` is ``truth``, ``chaos`` or ``capacity``: other defects are tried instead. A client that is not certified
    ends it. UsageError before anything starts for a name that is not known, for the defect of a locust run where
    locust is not installed, and for defects without the calibration of latencies, whose gates they are held against.
    """
    defects, storms = choose(chosen, storms_only=storms_only, part=part)
    if defects and job.settings.latency_calibration == "none":
        raise UsageError("the proof needs the latency calibration: leave out --no-latency-calibration")
    missing = {why for defect in defects if (why := defect.stage.missing_extra())}
    for why in missing:
        if chosen:
            raise UsageError(why)
        reporter.stage(f"the defects of locust runs will not be tried, so the whole proof cannot pass: {why}")
    proofs: list[Proof] = []
    for repetition in range(1, repetitions + 1):
        if not defects:
            proofs.append(prove_storms(job, storms, environ, reporter, repetition))
            continue
        # In turns: neighbours of the list take about as long.
        shares = [share for lane in range(_LANES) if (share := storms[lane::_LANES])]
        lanes = [Lane(prove_storms, job, share, dict(environ), Reporter(), repetition) for share in shares]
        proofs.append(prove_defects(job, add_healthy_runs(defects), environ, reporter, repetition, lanes))
        if proofs[-1].refused is not None:
            break
    return join_proofs(proofs)


def choose(names: Sequence[str], *, storms_only: bool, part: str = "") -> tuple[list[Defect[Any]], list[Weakness]]:
    """The defects and the weaknesses of some names. Without names: those of a part; the weaknesses are of no part."""
    defects = {} if storms_only else {defect.name: defect for defect in DEFECTS}
    known = (*defects, *_STORM_NAMES)
    names = [OLD_NAMES.get(name, name) for name in names]
    for name in names:
        if name not in known:
            what = "storm" if storms_only else "defect, storm or case"
            raise UsageError(f"{name!r} is no {what}; known are {', '.join(known)}")
    chosen = [defect for name, defect in defects.items() if (name in names if names else defect.part == part)]
    everything = not names and not part
    return chosen, [one for one in WEAKNESSES if everything or one.storm in names or one.case in names]
