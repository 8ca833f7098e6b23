"""One run of a comparison: its evidence, and the verdicts that it was sealed with."""

from __future__ import annotations

from dataclasses import dataclass

from rig.evidence.case import Case
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """``name`` of the pack and ``digest`` of its hash list, hex; the rest is what the pack holds."""

    name: str
    digest: str
    manifest: Manifest
    case: Case
    judgement: Judgement
