"""The hash list of a pack: ``SHA256SUMS``, as ``sha256sum -c`` reads it.

Flow: ``sums_text`` lists every file of a folder; ``check_integrity`` walks the folder again and names what changed,
what is missing and what was added. Both hash only files that the walk finds. A path in a hostile list is compared as
text, and never opened.

The list is no signature: whoever can change a pack can write a new list. A run therefore prints the digest of the list
at its end. Give it to ``rig check --digest``.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rig.errors import EvidenceError

SUMS = "SHA256SUMS"
NOT_REGULAR = "is no regular file, and a pack holds nothing else: move it out, or copy the pack again"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_LIST_BYTES_MOST = 1 << 24
_DEEPEST = 100
"""Parts of a path. A deeper walk would hit the interpreter's recursion limit."""
_UNFIT = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")
"""Characters that a line of the list cannot hold."""


@dataclass(frozen=True, slots=True)
class IntegrityCheck:
    """A folder against its list. Names are relative to the folder; ``digest`` is the list's own SHA-256, hex."""

    digest: str
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    malformed: tuple[str, ...] = ()
    """Lines that are not a digest and a name, or that name a file a second time."""

    @property
    def intact(self) -> bool:
        """True when every file is there, unchanged, and nothing else is."""
        return not (self.changed or self.missing or self.extra or self.malformed)

    @property
    def sentence(self) -> str:
        """What was found, every file by name."""
        if self.intact:
            return "every file is as it was written"
        kinds = (
            ("changed", self.changed),
            ("missing", self.missing),
            ("not of this pack", self.extra),
            (f"no line of {SUMS}", self.malformed),
        )
        return "; ".join(f"{kind}: {', '.join(map(repr, names))}" for kind, names in kinds if names)


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder as (relative POSIX name, path), sorted.

    EvidenceError for symbolic links, sockets and pipes: following one could leave the pack, opening one could hang.
    """
    if len(folder.parts) > _DEEPEST:
        raise EvidenceError(f"{folder} lies deeper than any folder of a pack: remove it")
    with _evidence_errors(folder):
        found = [(path, path.lstat().st_mode) for path in sorted(folder.iterdir())]
    for path, mode in found:
        if stat.S_ISDIR(mode):
            yield from ((f"{path.name}/{name}", below) for name, below in walk(path))
        elif stat.S_ISREG(mode):
            yield path.name, path
        else:
            raise EvidenceError(f"{path} {NOT_REGULAR}")


def sums_text(folder: Path) -> str:
    """The list of a folder's files, itself left out."""
    lines = []
    for name, path in walk(folder):
        if name == SUMS:
            continue
        if _UNFIT.search(name):
            raise EvidenceError(f"the name {name!r} in {folder} cannot stand in {SUMS}: rename the file")
        lines.append(f"{_digest(path)}  {name}\n")
    return "".join(lines)


def check_integrity(folder: Path) -> IntegrityCheck:
    """Hash a finished folder again; EvidenceError when it has no list."""
    data = _read_list(folder)  # before the walk: a folder without it may be no pack, and hold anything
    listed, malformed = _parse(data)
    present = dict(walk(folder))
    del present[SUMS]
    return IntegrityCheck(
        digest=hashlib.sha256(data).hexdigest(),
        changed=tuple(name for name in listed if name in present and _digest(present[name]) != listed[name]),
        missing=tuple(name for name in listed if name not in present),
        extra=tuple(name for name in present if name not in listed),
        malformed=tuple(malformed),
    )


def require_hashes(folder: Path, names: Iterable[str]) -> None:
    """Hash some files again; EvidenceError where one is not what the list of the folder says."""
    listed, _ = _parse(_read_list(folder))
    for name in names:
        if listed.get(name) != _digest(folder / name):
            raise EvidenceError(f"{folder} was changed: {IntegrityCheck('', changed=(name,)).sentence}")


def _read_list(folder: Path) -> bytes:
    listing = folder / SUMS
    if not os.path.lexists(listing):
        raise EvidenceError(f"{listing} is missing: nothing can be verified. Is {folder} an evidence pack?")
    return read_bounded(listing, _LIST_BYTES_MOST)


def read_bounded(path: Path, bytes_most: int) -> bytes:
    """A whole file. EvidenceError where it is a link or a pipe, larger than that, or cannot be read."""
    with _evidence_errors(path):
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode):
            raise EvidenceError(f"{path} {NOT_REGULAR}")
        if state.st_size > bytes_most:
            raise EvidenceError(f"{path} cannot be read: it is larger than {bytes_most >> 20} MiB")
        return path.read_bytes()


def _parse(data: bytes) -> tuple[dict[str, str], list[str]]:
    """The digest of each name in a list, and the lines that are none."""
    listed: dict[str, str] = {}
    malformed = []
    for line in data.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n"):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in listed:
            malformed.append(line[:200])
        else:
            listed[match[2]] = match[1]
    return listed, malformed


def _digest(path: Path) -> str:
    with _evidence_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _evidence_errors(path: Path) -> Iterator[None]:
    """Turn the error of a file that cannot be read into an EvidenceError that names it."""
    try:
        yield
    except OSError as error:
        raise EvidenceError(f"{path} cannot be read: {error.strerror}") from None
