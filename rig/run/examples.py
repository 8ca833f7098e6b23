"""Examples of answers that must not be, with the keys of their requests."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from rig.evidence.examples import EXAMPLES_EACH, AnswerExample
from rig.evidence.history import was_let_in
from rig.requests.targeter import Targets


def find_examples(targets: Targets, rows: pd.DataFrame) -> Iterator[AnswerExample]:
    """The first forged requests of each kind that were let in."""
    let_in = rows[was_let_in(rows)].sort_values("done_ns")
    for kind, of_kind in let_in.groupby("class", observed=True):
        for seq, status in of_kind[["seq", "status"]].head(EXAMPLES_EACH).itertuples(index=False):
            scenario, key = targets.scenario, targets.key(int(seq))
            yield AnswerExample(scenario.id, scenario.label, str(kind), key, int(status))
