"""The confusion matrix of a proof of the diagnosis, as a table for a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from rig.evidence.confusion import ANSWERS, NOTHING, UNDETERMINED, Confusion

_SHORT = {NOTHING: "none", UNDETERMINED: "?"}


def confusion_table(confusion: Confusion) -> Table:
    """A row for each seed, a column for each answer. Right answers are bold, wrong ones red."""
    rest = f", {confusion.false_alarms} false alarms" if confusion.false_alarms else ""
    if confusion.refused is not None:
        rest = f", the client was not certified: {confusion.refused.because}"
    title = f"{confusion.verdict}: {confusion.score:.1%} of {len(confusion.answers)} answers right{rest}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("seed", no_wrap=True)
    for name in ANSWERS:
        table.add_column(_SHORT.get(name, name), justify="right")
    table.add_column("right", justify="right")
    for seed, expected in confusion.seeds.items():
        cells = [_cell(confusion.count(seed, name), name == expected) for name in ANSWERS]
        table.add_row(seed, *cells, f"{confusion.right(seed):.0%}")
    if confusion.not_run:
        table.caption = "; ".join(f"{seed}: NOT-RUN, {reason}" for seed, reason in confusion.not_run.items())
        table.caption_justify = "left"
    return table


def _cell(count: int, expected: bool) -> Text:
    if not count:
        return Text("0" if expected else "·", "red" if expected else "dim")
    return Text(str(count), "bold" if expected else "red")
