"""Tables of a pack, read as a stranger's: the columns that are asked for, or an error that names the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from rig.errors import EvidenceError


def read_frame(
    path: Path, columns: Sequence[str], finish: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
) -> pd.DataFrame:
    """These columns of a Parquet file, in this order, as ``finish`` leaves them; EvidenceError where it is damaged.

    ``finish`` gives the columns their types; what it raises is the file's fault too.
    """
    try:
        return finish(pd.read_parquet(path, columns=list(columns))[list(columns)])
    except Exception as error:  # what the file says of its own columns is not checked: it may end in any error
        raise EvidenceError(f"{path} cannot be read: {type(error).__name__}: {error}") from None
