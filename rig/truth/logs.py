"""Finds canaries in log files and other texts of lines, in all spellings of ``rig.truth.spellings``.

Flow: a file is read in blocks of whole lines. A block is searched for what canaries begin with, and only its lines that
have any of it are examined. So a long log costs little more than reading it. A log that was rotated during the run is
searched in all its parts (``rig.truth.log_marks``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from rig.evidence.truth import CanaryHit
from rig.machine.files import open_file
from rig.truth.canaries import Findings
from rig.truth.expected import RequestIndex
from rig.truth.log_marks import LogMark
from rig.truth.spellings import Anchors, tokens_in

_BLOCK_BYTES = 1 << 20
_BATCH = 1_000
"""Texts that are searched together."""
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""How files of gzip, bzip2, xz and zstd begin."""
_MAGIC_BYTES = 8
_CARRIED_BYTES = 512
"""More than the longest spelling of a canary, so that one is found even where an endless line is cut."""


def search_log(path: Path, index: RequestIndex, findings: Findings, mark: LogMark | None = None) -> None:
    """Search one log file, line by line, and what it was rotated into since the mark.

    OSError where it cannot be read, or something of it is gone.
    """
    with open_file(path) as file:
        _search(path, file, index, findings)
        own = os.fstat(file.fileno())
        if mark is None or (mark.is_of(own) and mark.is_kept_in(file)):
            return  # other files may be named like it, and are no parts of it
    is_there = mark.is_of(own) or not mark.was_there
    is_cut = mark.is_of(own) and mark.size_bytes > 0
    for part, state in mark.find_parts():
        if not os.path.samestat(state, own):
            with open_file(part) as file:
                _search(part, file, index, findings)
            is_there |= mark.is_of(state)
    if is_cut:
        raise OSError("it was cut off or written anew during the run, and what stood in it before may be gone")
    if not is_there:
        raise OSError("it was replaced during the run, and what it was does not lie beside it")


def _search(path: Path, file: BinaryIO, index: RequestIndex, findings: Findings) -> None:
    if file.read(_MAGIC_BYTES).startswith(_COMPRESSED):
        raise OSError(f"{path.name} is compressed; let logs be compressed after the run")
    file.seek(0)
    for number, token, spelling in tokens_by_line(file.read):
        request = index.by_canary(token)
        if request is not None:
            what = f"value {token}{f' ({spelling})' if spelling else ''}"
            findings.add(CanaryHit(f"{path}:{number}", True, what, request))


def suspicious_texts(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Those of many short texts that may hold a canary."""
    texts = iter(texts)
    while batch := list(islice(texts, _BATCH)):
        if anchors := Anchors.in_block(b"\n".join(batch)):
            yield from (text for text in batch if anchors.are_in(text))


def tokens_by_line(read: Callable[[int], bytes]) -> Iterator[tuple[int, str, str]]:
    """(line number, token, spelling) of each canary; an endless line is read in pieces that overlap."""
    number, carried = 1, b""
    told: set[tuple[int, str]] = set()
    while piece := read(_BLOCK_BYTES):
        # UTF-16 has a zero byte beside each letter; without them all encodings are searched alike.
        block = carried + (piece.replace(b"\0", b"") if b"\0" in piece else piece)
        end = block.rfind(b"\n") + 1
        is_endless = not end and len(block) > _BLOCK_BYTES
        for line, token, spelling in _search_block(block if is_endless else block[:end], number):
            if (line, token) not in told:
                told.add((line, token))
                yield line, token, spelling
        number += block.count(b"\n")
        carried = block[-_CARRIED_BYTES:] if is_endless else block[end:]
    yield from (each for each in _search_block(carried, number) if each[:2] not in told)


def _search_block(block: bytes, first: int) -> Iterator[tuple[int, str, str]]:
    anchors = Anchors.in_block(block)
    if not anchors:
        return
    for number, line in enumerate(block.split(b"\n"), first):
        if anchors.are_in(line):
            for token, spelling in tokens_in(line).items():
                yield number, token, spelling
