"""What a load worker writes beside its rows: checksums of bodies, whole answers, examples.

No pandas here, which would double the time that a worker takes to start. The rows themselves are
``rig.evidence.scenario_runs.RESULT``; ``rig.evidence.history`` reads all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

BODY = np.dtype([("seq", "<i8"), ("crc", "<i8")])
"""One row per answer whose body is compared: the number of the request, the CRC-32 of the body."""
BODIES, EXAMPLES, ANSWERS = SUFFIXES = ".bodies", ".examples", ".answers"
"""How the names of these files end."""
_SIZE_BYTES = 4
"""The length of an answer, which stands before it."""


def bodies_file(rows_file: Path) -> Path:
    """Where a worker's rows of ``BODY`` lie; there is none where nothing is compared."""
    return rows_file.with_suffix(BODIES)


def examples_file(rows_file: Path) -> Path:
    """Where a worker's examples of answers lie, as JSON; there is none where nothing is wrong with them."""
    return rows_file.with_suffix(EXAMPLES)


def files_beside(rows_file: Path) -> list[Path]:
    """What a worker wrote beside its rows."""
    beside = (rows_file.with_suffix(suffix) for suffix in SUFFIXES)
    return [file for file in beside if file.exists()]


def keep_answers(rows_file: Path, answers: Iterable[bytes]) -> None:
    """Write whole answers of a worker, head and body."""
    with rows_file.with_suffix(ANSWERS).open("wb") as file:
        for answer in answers:
            file.write(len(answer).to_bytes(_SIZE_BYTES, "little") + answer)


def read_answers(file: Path) -> Iterator[bytes]:
    """What ``keep_answers`` wrote."""
    data, at = file.read_bytes(), 0
    while at < len(data):
        end = at + _SIZE_BYTES + int.from_bytes(data[at : at + _SIZE_BYTES], "little")
        yield data[at + _SIZE_BYTES : end]
        at = end
