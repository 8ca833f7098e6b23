"""Tables of a pack: written small, and read as from a stranger: the columns that are needed, or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rig.errors import EvidenceError
from rig.limits import REQUESTS_CEILING

ROWS_MOST = 4 * REQUESTS_CEILING
"""More than any run writes. A table of a few kilobytes may say that it has any number of rows."""


def write_frame(frame: pd.DataFrame, into: Path | BinaryIO) -> None:
    """Write a table without its index; OSError or ArrowException where it cannot be.

    A pack has many small tables, so what only describes them is left out: pandas' own metadata (the types are in
    Arrow's) and the statistics of each column. Times grow from row to row: their differences take a third of the space.
    """
    whole = [str(column) for column in frame.columns if frame[column].dtype == np.int64]
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(
        table,
        into,
        compression="zstd",
        write_statistics=False,
        use_dictionary=[str(column) for column in frame.columns.difference(whole)],
        column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
    )


def require_bounded(paths: Iterable[Path]) -> None:
    """EvidenceError where these tables together have more rows, or values of a column, than any run writes."""
    rows = 0
    for path in paths:
        try:
            table = pq.read_metadata(path)
        except Exception:  # the reader says what is wrong with it
            continue
        groups = [table.row_group(number) for number in range(table.num_row_groups)]
        rows += sum(
            max((group.column(number).num_values for number in range(group.num_columns)), default=0) for group in groups
        )
        if rows > ROWS_MOST:
            raise EvidenceError(f"{path} cannot be read: it unpacks to {rows:,} rows or more, and no run has so many")


def read_frame(
    path: Path, columns: Sequence[str], finish: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
) -> pd.DataFrame:
    """These columns of a Parquet file, in this order, with the types that ``finish`` gives them.

    EvidenceError where the file is damaged, or ``finish`` raises.
    """
    try:
        return finish(pd.read_parquet(path, columns=list(columns))[list(columns)])
    except Exception as error:  # a hostile file may raise anything
        raise EvidenceError(f"{path} cannot be read: {type(error).__name__}: {error}") from None
