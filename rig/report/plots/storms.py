"""The key storms on their time axes, one panel for each case.

Rows from the top: the fetches as the origin counted them, each with the number of its process; who held the lock; a row
for each process, with every verification that took long; and what became of the tokens: known keys, a new key, bad
tokens. Behind everything are the cool-downs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rig.checks.key_storms.figures import duration_s, expected_fetches, most_at_once, spans
from rig.checks.key_storms.gates import storm_gates
from rig.evidence.case import Case
from rig.evidence.gate import Verdict
from rig.evidence.key_case import Token
from rig.evidence.key_storm import Fetch, KeyStorm
from rig.report.plots.canvas import INK, LIMIT, panels_below
from rig.text import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GOOD, _BAD, _GONE = "#0072b2", "#d55e00", "#999999"
_RIGHT, _NOT_YET = "#8fbf9f", "#cc79a7"
_OF_NEW_KEYS = ("rotation", "waits", "store-back")
_COOL_DOWN = "#e8eef4"
_LOCK = ("#009e73", "#66c2a5")
_WAIT = {
    Token.UNKNOWN: "#e69f00",
    Token.FORGED: "#e69f00",
    Token.ROTATED: _NOT_YET,
    Token.WITHDRAWN: _NOT_YET,
    Token.LAPSED: "#e69f00",
    Token.KNOWN: "#56b4e9",
    Token.UNNAMED: "#009e73",
}
_LONG_NS = 20_000_000
_TICKS = 1500
_LABELLED = 0.02
"""A fetch that takes a smaller share of the axis is drawn without its process's number."""
_ROWS_ABOVE = 2
_TITLE_INCHES = 0.45
"""Room for the title between a plot and the legend above it."""
_TOKENS = (
    ("known keys", (Token.KNOWN,)),
    ("new key", (Token.ROTATED,)),
    ("withdrawn key", (Token.WITHDRAWN,)),
    ("lapsed tokens", (Token.LAPSED,)),
    ("no key id", (Token.UNNAMED,)),
    ("bad tokens", (Token.UNKNOWN, Token.FORGED)),
)


def storms(case: Case) -> Figure | None:
    """A panel for each case that was run; None without one."""
    tried = [storm for storm in case.key_storms if not storm.not_run]
    if not tried:
        return None
    heights = [1.6 + 0.09 * storm.processes for storm in tried]
    figure, each = panels_below(heights, "Key storms: what the origin and the callers saw")
    for axes, storm in zip(each, tried, strict=True):
        _Panel(axes, storm).draw()
    _legend(each[0])
    return figure


class _Panel:
    """One case; rows count downwards from 0."""

    def __init__(self, axes: Axes, storm: KeyStorm) -> None:
        self._axes = axes
        self._storm = storm
        self._failed = [gate for gate in storm_gates(storm) if gate.verdict is Verdict.FAIL and not storm.display_only]
        present = set(_kinds_of(storm.calls))
        self._tokens = [(name, kinds) for name, kinds in _TOKENS if present & set(kinds)]
        self._tokens_from = _ROWS_ABOVE + storm.processes + 0.5

    def draw(self) -> None:
        self._frame()
        self._fetches()
        self._lock()
        self._waits()
        for index, (_, kinds) in enumerate(self._tokens):
            self._outcomes(self._tokens_from + index * 1.4 + 0.5, kinds)
        self._marks()

    def _s(self, at_ns: float) -> float:
        return (at_ns - self._storm.released_ns) / 1e9

    def _frame(self) -> None:
        storm, axes = self._storm, self._axes
        fetches = counted(len(storm.fetches), "fetch")
        off = f", without {', '.join(storm.without)}" if storm.without else ""
        title = f"{storm.case}{off}: {fetches} ({expected_fetches(storm)} expected), {most_at_once(storm)} at a time"
        failed = ", ".join(gate.id.rpartition(".")[2] for gate in self._failed)
        title += f" – FAIL: {failed}" if failed else ""
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=LIMIT if failed else INK, pad=14)
        if failed:
            for spine in axes.spines.values():
                spine.set(visible=True, color=LIMIT, linewidth=1.5)
        ticks = [0.5, 1.5, _ROWS_ABOVE + storm.processes / 2]
        names = ["origin's fetches", "lock held", f"{storm.processes} processes:\nwho waits"]
        ticks += [self._tokens_from + index * 1.4 + 0.5 for index in range(len(self._tokens))]
        names += [name for name, _ in self._tokens]
        axes.set_yticks(ticks, names, fontsize=8)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_ylim(self._tokens_from + 1.4 * len(self._tokens), -0.3)
        axes.set_xlim(-0.01 * duration_s(storm), max(duration_s(storm), 0.1) * 1.01)
        axes.grid(visible=False)

    def _fetches(self) -> None:
        storm, axes = self._storm, self._axes
        tracks = self._assign_tracks()
        depth = 0.9 / max(1, max(tracks, default=0) + 1)
        for track, fetch, (start_ns, end_ns) in zip(tracks, storm.fetches, spans(storm), strict=True):
            start, end = self._s(start_ns), self._s(end_ns)
            axes.axvspan(end, end + storm.verifier_settings.cool_down_s, color=_COOL_DOWN, linewidth=0, zorder=0)
            width = max(end - start, duration_s(storm) / 400)
            axes.barh(0.05 + (track + 0.5) * depth, width, depth * 0.9, start, color=_colour(fetch), zorder=3)
            if fetch.member is not None:
                row = _ROWS_ABOVE + fetch.member + 0.5
                axes.barh(row, width, 0.8, start, color=_colour(fetch), zorder=3)
                if max(tracks) == 0 and width > _LABELLED * duration_s(storm):
                    member = str(fetch.member)
                    axes.text(start + width / 2, 0.5, member, color="white", fontsize=7, ha="center", va="center")

    def _assign_tracks(self) -> list[int]:
        """For each fetch the first track that is free at its start, so that fetches at one time do not overlap."""
        busy_until: list[int] = []
        tracks = []
        for start_ns, end_ns in spans(self._storm):
            track = next((index for index, until in enumerate(busy_until) if until <= start_ns), len(busy_until))
            busy_until[track : track + 1] = [end_ns]
            tracks.append(track)
        return tracks

    def _lock(self) -> None:
        """The holders of the lock, from one look at it to the next."""
        looks = self._storm.holdings
        turn = 0
        for index, look in enumerate(looks[:-1]):
            if look.holder is None:
                continue
            turn += index > 0 and looks[index - 1].holder != look.holder
            width = self._s(looks[index + 1].at_ns) - self._s(look.at_ns)
            self._axes.barh(1.5, width, 0.8, self._s(look.at_ns), align="center", color=_LOCK[turn % 2], zorder=3)

    def _waits(self) -> None:
        calls = self._storm.calls
        long = calls[calls["end_ns"] - calls["start_ns"] > _LONG_NS]
        for kind, colour in _WAIT.items():
            rows = long[_kinds_of(long) == kind.value]
            self._axes.hlines(
                _ROWS_ABOVE + rows["member"].to_numpy(float) + 0.5,
                [self._s(at) for at in rows["start_ns"]],
                [self._s(at) for at in rows["end_ns"]],
                color=colour,
                linewidth=2,
                zorder=2,
            )

    def _outcomes(self, row: float, kinds: tuple[Token, ...]) -> None:
        """A tick for each verification: a right answer is pale, a wrong one is red and larger.

        A new key may be refused until it is fetched: red only where one of ``_OF_NEW_KEYS`` says that it may not.
        """
        calls = self._storm.calls
        rows = calls[_kinds_of(calls).isin([kind.value for kind in kinds])]
        accepted = rows["accepted"].to_numpy(bool)
        failed = {gate.id.rpartition(".")[2] for gate in self._failed}
        must_be_refused = np.full(len(rows), Token.UNKNOWN in kinds)
        if "withdrawn" in failed and (withdrawn := self._storm.mark("withdrawal")) is not None:
            must_be_refused |= (rows["token"] == Token.WITHDRAWN.value) & (rows["start_ns"] > withdrawn.at_ns)
        if "expiry" in failed:
            must_be_refused |= rows["token"] == f"{Token.LAPSED} seen"
        refused = LIMIT if {Token.KNOWN, Token.UNNAMED, Token.ROTATED} & set(kinds) else _RIGHT
        if Token.ROTATED in kinds and not failed.intersection(_OF_NEW_KEYS):
            refused = _NOT_YET
        for shown, colour in (
            (rows[accepted & must_be_refused], LIMIT),
            (rows[accepted & ~must_be_refused], _RIGHT),
            (rows[~accepted], refused),
        ):
            at = [self._s(value) for value in _thin_out(shown)["end_ns"]]
            size = 9 if colour == LIMIT else 5
            self._axes.plot(at, np.full(len(at), row), "|", color=colour, markersize=size, zorder=3)

    def _marks(self) -> None:
        for mark in self._storm.marks:
            at = self._s(mark.at_ns)
            self._axes.axvline(at, color=INK, linewidth=1, linestyle="--", zorder=4)
            what = mark.what if mark.member is None else f"{mark.what} {mark.member}"
            self._axes.text(at, -0.35, f" {what}", fontsize=7.5, color=INK, ha="left", va="bottom")


def _kinds_of(calls: pd.DataFrame) -> pd.Series[str]:
    return calls["token"].astype(str).map(lambda token: token.partition(" ")[0])


def _thin_out(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.iloc[:: max(1, len(rows) // _TICKS)]


def _colour(fetch: Fetch) -> str:
    if fetch.outcome in ("aborted", "open"):
        return _GONE
    return _GOOD if fetch.is_good else _BAD


def _legend(axes: Axes) -> None:
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    axes.legend(
        handles=[
            Patch(color=_GOOD, label="fetch that brought keys"),
            Patch(color=_BAD, label="fetch that failed"),
            Patch(color=_GONE, label="fetch cut off"),
            Patch(color=_COOL_DOWN, label="cool-down: nobody may fetch"),
            Patch(color=_LOCK[0], label="lock held"),
            Patch(color=_WAIT[Token.UNKNOWN], label="waits with an unknown key"),
            Patch(color=_WAIT[Token.KNOWN], label="waits with a known key"),
            Patch(color=_WAIT[Token.ROTATED], label="new key: waits, or not known yet"),
            Patch(color=_RIGHT, label="right answer"),
            Patch(color=LIMIT, label="valid refused, or bad accepted"),
        ],
        frameon=False,
        fontsize=7.5,
        ncols=4,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        bbox_transform=axes.transAxes + ScaledTranslation(0.0, _TITLE_INCHES, axes.figure.dpi_scale_trans),
        borderaxespad=0.0,
    )
