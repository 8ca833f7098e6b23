"""Examples of answers that must not be, with the keys of their requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from rig.evidence.examples import EXAMPLES_EACH, AnswerExample
from rig.evidence.history import was_let_in
from rig.requests.canary import CANARY_PATTERN
from rig.requests.targeter import Targets


def find_examples(
    targets: Targets, rows: pd.DataFrame, kept: Iterable[Mapping[str, Any]], blank: Callable[[str], str]
) -> Iterator[AnswerExample]:
    """The first forged requests of each kind that were let in, and what the workers ``kept`` of other answers.

    ``blank`` takes secrets out of a body. Personal values go, too.
    """
    scenario, label = targets.scenario.id, targets.scenario.label
    let_in = rows[was_let_in(rows)].sort_values("done_ns")
    for kind, of_kind in let_in.groupby("class", observed=True):
        for seq, status in of_kind[["seq", "status"]].head(EXAMPLES_EACH).itertuples(index=False):
            yield AnswerExample(scenario, label, str(kind), targets.key(int(seq)), int(status))
    for each in kept:
        body = re.sub(CANARY_PATTERN, "[personal]", blank(each["body"]))
        yield AnswerExample(scenario, label, each["why"], targets.key(each["seq"]), each["status"], body)
