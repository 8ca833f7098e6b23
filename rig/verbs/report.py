"""``rig report PACK``: make the documents of a pack again, in another folder. Nothing in the pack is changed."""

from __future__ import annotations

from pathlib import Path

from rig.errors import ConfigError, EvidenceError, UsageError
from rig.evidence.pack import Pack
from rig.evidence.pack_folder import MANIFEST
from rig.report.documents import documents
from rig.run.request_finder import read_failing_gates


def render(path: Path, out: Path) -> tuple[Path, ...]:
    """Write ``report.html``, ``summary.md``, ``junit.xml`` and ``plots/`` of a pack into the folder ``out``.

    They show the verdicts in the pack. EvidenceError for a pack that was changed or never judged,
    UsageError where ``out`` is inside a pack.
    """
    pack = Pack.open_intact(path)
    judgement, case = pack.require_judgement(), pack.load()
    failing = read_failing_gates(pack, case, judgement)
    return write_documents(documents(pack.manifest(), case, judgement, failing), out)


def write_documents(made: dict[str, bytes], out: Path) -> tuple[Path, ...]:
    """Write documents into a folder, which is made if it is missing; their paths."""
    folder = out.resolve()
    for above in (folder, *folder.parents):
        if _is_pack(above):
            raise UsageError(f"--out {out} is inside the pack {above}, which must not change; give another folder")
    paths = []
    for name, data in made.items():
        target = out / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except OSError as error:
            raise ConfigError(f"{target} cannot be written: {error}; give --out a writable folder") from None
        paths.append(target)
    return tuple(paths)


def _is_pack(folder: Path) -> bool:
    """Whether the folder is a pack of the rig's: other programs have files of that name, too."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        Pack.open(folder).manifest()
    except EvidenceError:
        return False
    return True
