"""A worker's rows on their way to the disk, also when the disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from rig.engine.rows import RowFile
from rig.errors import ErrorKind
from rig.evidence.scenario_runs import RESULT


def fill(rows: RowFile, numbers: range) -> None:
    for seq in numbers:
        rows.add(seq, seq + 1, seq + 2, seq + 3, seq % 7, 200, ErrorKind.TIMEOUT)


def test_rows_read_back_as_they_were_added(tmp_path: Path) -> None:
    rows = RowFile(tmp_path / "rows", worker=3)
    # More than the buffer holds, so that it is flushed on its own as well.
    fill(rows, range(20_000))
    rows.flush()
    rows.close()
    read = np.fromfile(tmp_path / "rows", dtype=RESULT)
    assert read["seq"].tolist() == list(range(20_000))
    assert rows.written == 20_000
    last = read[-1]
    assert last.tolist() == (19_999, 20_000, 20_001, 20_002, 19_999 % 7, 200, ErrorKind.TIMEOUT, 3)


def test_a_disk_that_is_full_for_a_while_neither_loses_nor_doubles_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = os.write
    room = [100, 0, 50_000]

    def limited(fd: int, data: memoryview) -> int:
        """Room for some bytes, not for whole rows; then none; then for some more; then for all."""
        if room and not room[0]:
            room.pop(0)
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(fd, data[: room.pop(0)] if room else data)

    rows = RowFile(tmp_path / "rows", worker=0)
    fill(rows, range(5))
    monkeypatch.setattr(os, "write", limited)
    with pytest.raises(OSError, match="No space left"):
        rows.flush()
    assert rows.written <= 2
    fill(rows, range(5, 9))
    rows.flush()
    rows.close()
    assert np.fromfile(tmp_path / "rows", dtype=RESULT)["seq"].tolist() == list(range(9))
    assert rows.written == 9


def test_a_file_that_exists_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"kept")
    with pytest.raises(FileExistsError):
        RowFile(tmp_path / "rows", 0)
    assert (tmp_path / "rows").read_bytes() == b"kept"
