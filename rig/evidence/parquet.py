"""Reading a table of a pack that may come from a stranger: the columns that are needed, or an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from rig.errors import EvidenceError


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
