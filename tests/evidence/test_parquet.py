"""Tables whose description of themselves is false: each is an error that names the file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rig.errors import EvidenceError
from rig.evidence.history import COLUMNS as HISTORY_COLUMNS
from rig.evidence.history import read_history
from rig.evidence.parquet import read_frame
from rig.evidence.sample_files import read_samples

FRAME = pd.DataFrame({"at_ns": [1, 2], "path": ["/a", "/b"]})


def described(path: Path, frame: pd.DataFrame, words: bytes) -> Path:
    """A table that says ``words`` of its columns where pandas looks for what it kept of them."""
    pq.write_table(pa.Table.from_pandas(frame).replace_schema_metadata({b"pandas": words}), path)
    return path


@pytest.mark.parametrize(
    "words",
    [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"columns": "x", "index_columns": []}'],
)
def test_what_pandas_kept_of_the_columns_may_be_anything(tmp_path: Path, words: bytes) -> None:
    file = described(tmp_path / "probes.parquet", FRAME, words)
    with pytest.raises(EvidenceError, match=r"probes\.parquet cannot be read: \w+Error: "):
        read_frame(file, ("at_ns", "path"))


def test_the_columns_are_those_that_were_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    FRAME.assign(more=0).to_parquet(file)
    assert list(read_frame(file, ("path", "at_ns")).columns) == ["path", "at_ns"]
    with pytest.raises(EvidenceError, match=r"table\.parquet cannot be read: "):
        read_frame(file, ("path", "status"))


def test_values_that_have_not_the_type_of_their_column(tmp_path: Path) -> None:
    lists = pd.DataFrame({column: [[1]] for column in HISTORY_COLUMNS})
    lists.to_parquet(tmp_path / "S1.parquet")
    with pytest.raises(EvidenceError, match=r"S1\.parquet cannot be read: ValueError: the column attempt holds object"):
        read_history(tmp_path)
    (tmp_path / "reports.json").write_text("[]")
    pd.DataFrame({"sampler": ["pids"], "at_ns": ["soon"], "took_ns": [1], "missed": [0]}).to_parquet(
        tmp_path / "ticks.parquet"
    )
    with pytest.raises(EvidenceError, match=r"ticks\.parquet cannot be read: ValueError"):
        read_samples(tmp_path)


def test_damage_of_samples_is_told_by_their_name(tmp_path: Path) -> None:
    (tmp_path / "reports.json").write_text("[]")
    described(tmp_path / "sockets.parquet", pd.DataFrame({"at_ns": [1], "pid": [2], "established": [3]}), b"{}")
    with pytest.raises(EvidenceError, match=r"sockets\.parquet cannot be read: KeyError"):
        read_samples(tmp_path)
