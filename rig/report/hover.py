"""Rate and response times over a run as SVG whose bars say their figures under the mouse. No script, nothing to load.

Flow: ``hover_plots`` cuts the run into bins; ``_svg`` draws a bar a bin with a ``<title>``, which every browser shows.
The report makes a picture larger by a checkbox and its style.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from markupsafe import Markup, escape

from rig.evidence.case import Case
from rig.evidence.chaos import S11
from rig.evidence.history import span_of
from rig.model import Outcome
from rig.stats import quantile, response_ms
from rig.text import milliseconds, number

_BINS = 240
_WIDTH, _HEIGHT, _LEFT, _TOP = 960, 150, 60, 8
_LEAST_HEIGHT = 0.05
_GOOD, _WRONG, _BROKEN = "#4c78a8", "#b2182b", "#b0b0b0"


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of a part of the run: how many each second were right and wrong, and the p95 of their response time.

    ``broken``: the rig was breaking things (S11), so that some had to be wrong.
    """

    at_s: float
    right_per_s: float
    wrong_per_s: float
    p95_ms: float
    broken: bool

    @property
    def words(self) -> str:
        """What the mouse shows."""
        wrong = f"{number(round(self.wrong_per_s))}/s failed"
        why = " while things were broken" if self.broken else ""
        return f"{self.at_s:.1f} s: {number(round(self.right_per_s))}/s, {wrong}{why}, p95 {milliseconds(self.p95_ms)}"


@dataclass(frozen=True, slots=True)
class HoverPlot:
    """A plot for the report."""

    title: str
    svg: Markup


def hover_plots(case: Case) -> tuple[HoverPlot, ...]:
    """The plots of a run; none where nothing was sent."""
    bins = tuple(_bins(case))
    if not bins:
        return ()
    longest_ms = max((each.p95_ms for each in bins if each.p95_ms < inf), default=1.0)
    rate = [(each, each.right_per_s, each.wrong_per_s) for each in bins]
    times = [(each, min(each.p95_ms, longest_ms), longest_ms * (each.p95_ms == inf)) for each in bins]
    times = [(each, 0.0 if wrong else right, wrong) for each, right, wrong in times]
    grey = f"; grey: the same in {S11}, while things were broken" if any(each.broken for each in bins) else ""
    return (
        HoverPlot(f"Answers a second; red: not as expected{grey}", _svg(rate, "/s")),
        HoverPlot(f"p95 of the response time; red: no answer{grey}", _svg(times, " ms")),
    )


def _bins(case: Case) -> Iterator[Bin]:
    rows = case.history[case.history["sent_ns"] > 0]
    if rows.empty:
        return
    begin_ns, end_ns = span_of(rows)
    width_s = max((end_ns - begin_ns) / 1e9, 0.001) / _BINS
    index = np.minimum((rows["done_ns"].to_numpy(np.int64) - begin_ns) / 1e9 // width_s, _BINS - 1)
    right, times = (rows["outcome"] == Outcome.ACKNOWLEDGED).to_numpy(), response_ms(rows)
    broken = (rows["scenario"] == S11).to_numpy()
    for number_of_bin in np.unique(index):
        inside = index == number_of_bin
        good = int(right[inside].sum())
        wrong = int(inside.sum()) - good
        at_s = (begin_ns - case.epoch_monotonic_ns) / 1e9 + number_of_bin * width_s
        p95_ms = quantile(times[inside], 0.95)
        yield Bin(at_s, good / width_s, wrong / width_s, p95_ms, bool(broken[inside & ~right].all() and wrong))


def _svg(bars: Sequence[tuple[Bin, float, float]], unit: str) -> Markup:
    first, last = bars[0][0].at_s, bars[-1][0].at_s
    span = max(last - first, 0.001) * (1 + 1 / _BINS)
    highest = max(good + wrong for _, good, wrong in bars) or 1.0
    across, up = _WIDTH - _LEFT, _HEIGHT - 30
    parts = [_text(_LEFT - 5, _TOP + 9, f"{number(float(f'{highest:.3g}'))}{unit}", "end")]
    parts += [_text(_LEFT, _HEIGHT - 6, f"{first:.1f} s", "start"), _text(_WIDTH, _HEIGHT - 6, f"{last:.1f} s", "end")]
    width = max(across / _BINS - 0.3, 0.8)
    drawn, shown = {_GOOD: "", _WRONG: "", _BROKEN: ""}, ""
    for each, good, wrong in bars:
        x, tall, red = _LEFT + (each.at_s - first) / span * across, good / highest * up, wrong / highest * up
        drawn[_GOOD] += _bar(x, _TOP + up, width, tall)
        drawn[_BROKEN if each.broken else _WRONG] += _bar(x, _TOP + up - tall, width, red)
        area = f'x="{x:.1f}" y="{_TOP}" width="{width:.1f}" height="{up}"'
        shown += f"<rect {area}><title>{escape(each.words)}</title></rect>"
    parts += [f'<path fill="{colour}" d="{path}"/>' for colour, path in drawn.items()]
    parts.append(f'<g fill="none" pointer-events="all">{shown}</g>')
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return Markup(f'<svg {size} role="img" font-size="11">{"".join(parts)}</svg>')


def _bar(x: float, bottom: float, width: float, height: float) -> str:
    """A bar as part of a path; all bars of a colour are one."""
    return f"M{x:.1f} {bottom:.1f}v-{height:.1f}h{width:.1f}v{height:.1f}z" if height >= _LEAST_HEIGHT else ""


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="currentColor">{escape(words)}</text>'
