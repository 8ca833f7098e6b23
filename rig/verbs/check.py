"""``rig check PACK``: judge a finished pack again, offline. Nothing in it is changed."""

from __future__ import annotations

from pathlib import Path

from rig.checks.judge import judgement_of
from rig.errors import EvidenceError
from rig.evidence.gate import Verdict
from rig.evidence.pack import Pack
from rig.run.record import FinishedRun, lower_for_interrupt


def recheck(path: Path, digest: str | None = None) -> FinishedRun:
    """Verify every byte, judge again, and compare with the verdicts in the pack.

    EvidenceError when a byte was changed, when the pack has another digest, or when a verdict differs.
    """
    pack = Pack.open(path)
    found = pack.require_intact()
    if digest is not None and digest.lower() != found:
        raise EvidenceError(f"{path} is another pack: its digest is {found}, not {digest}")
    before, case = pack.require_judgement(), pack.load()
    judgement = judgement_of(case)
    differing = [
        gate.id
        for gate in judgement.gates
        if gate.verdict is not {old.id: old.verdict for old in before.gates}.get(gate.id, Verdict.NOT_RUN)
    ]
    if differing:
        raise EvidenceError(f"{path}: the rig that made it came to other verdicts for {', '.join(differing[:5])}")
    # An interrupt lowers the verdict, and no gate shows it: both judgements are possible.
    possible = {(each.verdict, each.exit_code): each for each in (lower_for_interrupt(judgement), judgement)}
    said = (before.verdict, before.exit_code)
    if said not in possible:
        come_to = f"{judgement.verdict}, exit {judgement.exit_code}"
        raise EvidenceError(f"{path} says {before.verdict}, exit {before.exit_code}; its gates come to {come_to}")
    return FinishedRun(pack.manifest().verb, possible[said], pack.path, found, case.certificate)
