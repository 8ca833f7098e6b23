"""The confusion matrix of a diagnosis: seeded bottlenecks against the answers that were given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rig.evidence.confusion import ANSWERS, Confusion
from rig.report.plots.canvas import INK, LIMIT, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_matrix(confusion: Confusion) -> Figure | None:
    """A row a seed, a column an answer, the share of its repetitions as depth; None where nothing was asked.

    A frame marks the right answer of each row; a figure outside of it is red.
    """
    from matplotlib.patches import Rectangle

    seeds = confusion.seeds
    if not seeds:
        return None
    counts = np.array([[confusion.count(seed, answer) for answer in ANSWERS] for seed in seeds])
    title = f"Diagnosis: {confusion.score:.0%} of {len(confusion.answers)} answers right"
    figure, (axes,) = panels(1, title)
    figure.set_figheight(1.6 + 0.34 * len(seeds))
    axes.imshow(counts / counts.sum(axis=1, keepdims=True), cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
    for row, expected in enumerate(seeds.values()):
        right = ANSWERS.index(expected)
        axes.add_patch(Rectangle((right - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1.5))
        for column, count in enumerate(counts[row].tolist()):
            if count or column == right:
                colour = INK if column == right and count else LIMIT
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontweight="bold")
    axes.set_xticks(range(len(ANSWERS)), list(ANSWERS), fontsize=9)
    axes.set_yticks(range(len(seeds)), list(seeds), fontsize=9)
    axes.set_xlabel("the diagnosis's answer")
    axes.set_ylabel("what was seeded")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return figure
