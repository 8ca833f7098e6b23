"""``rig show PACK [GATE|KEY]``: what of a pack is shown. ``rig.run.request_finder`` finds it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from rig.errors import UsageError
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.pack import Pack
from rig.report.shown import PackShown
from rig.run.request_finder import RequestFinder


def show(path: Path, what: str | None) -> PackShown:
    """The failing gates of a pack, one gate, or every request with a key or a correlation id.

    EvidenceError for a pack that was changed or not judged, UsageError where the pack knows no such gate or key.
    """
    pack = Pack.open_intact(path)
    judgement = pack.require_judgement()
    finder = RequestFinder(pack)
    gates = _gates(judgement, what)
    if gates or what is None:
        return PackShown(tuple(finder.find_examples(gate) for gate in gates), judgement.on_purpose)
    if found := tuple(islice(finder.find_requests(what), 100)):
        return PackShown(found, judgement.on_purpose)
    raise UsageError(f"{path} has no gate, key or correlation id {what!r}; `rig show {path}` lists what failed")


def _gates(judgement: Judgement, what: str | None) -> list[Gate]:
    gates = [*judgement.exit_gates, *judgement.plain_gates]
    if what is None:
        return [gate for gate in judgement.plain_gates if gate.verdict in (Verdict.FAIL, Verdict.INVALID)]
    return [gate for gate in gates if gate.id == what]
