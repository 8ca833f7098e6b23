"""Reading tables of a pack that may come from a stranger: the columns that are needed, or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from rig.errors import EvidenceError
from rig.limits import REQUESTS_CEILING

ROWS_MOST = 4 * REQUESTS_CEILING
"""More than any run writes. A table of a few kilobytes may say that it has any number of rows."""


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
