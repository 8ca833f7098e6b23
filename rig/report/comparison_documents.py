"""A comparison as documents: the table on the console, ``compare.md`` and ``compare.html``, made of the same rows.

Text from a pack is never read as terminal codes, markup or Markdown. The HTML has the content policy of a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rig.report.comparison import Difference, RunComparison
from rig.report.interval import LEVEL
from rig.report.plots.differences import differences_plot
from rig.report.summary import command
from rig.report.template import render
from rig.text import markdown, markdown_list, markdown_table, number, one_line

_STYLES = {"better": "green", "worse": "bold red", "different": "bold", "open": "dim"}
_HEAD = ("subject", "figure", "first", "second", "change", f"{LEVEL:.0%} interval", "pairs", "what can be claimed")


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """One difference in words."""

    meaning: str
    cells: tuple[str, ...]


def rows(compared: RunComparison) -> tuple[DifferenceRow, ...]:
    """Every difference, in the order of the comparison."""
    return tuple(DifferenceRow(each.meaning, _cells(each)) for each in compared.differences)


def _cells(of: Difference) -> tuple[str, ...]:
    unit = f" {of.figure.unit}" if of.figure.unit else ""
    interval = "–" if of.low is None or of.high is None else f"{_percent(of.low)} to {_percent(of.high)}"
    return (
        of.subject,
        of.figure.words,
        f"{number(of.before)}{unit}",
        f"{number(of.after)}{unit}",
        _percent(of.change),
        interval,
        str(of.pairs),
        of.meaning if of.claim else f"nothing: {one_line(of.why_not)}",
    )


def _percent(share: float) -> str:
    return f"{share:+.1%}" if abs(share) < 1 else f"{share:+.0%}"


def remarks(compared: RunComparison) -> tuple[str, ...]:
    """What a reader must know about the intervals."""
    by_chance = compared.intervals * (1 - LEVEL)
    said = [
        f"{compared.intervals} intervals at {LEVEL:.0%}: by chance alone, about {number(round(by_chance, 1))} of them "
        "exclude 0"
        if compared.intervals
        else "",
        "an interval says how sure the difference between these two runs is, not what caused it; to learn what a "
        "change of the target does, make several runs of both, in turns",
    ]
    return tuple(filter(None, said))


def console(compared: RunComparison) -> RenderableType:
    """The comparison for a terminal. The caller's rich console decides on width, colour and stream."""
    parts: list[RenderableType] = [_runs(compared)]
    if compared.caveats:
        parts.append(_plain("Not alike", ("", "first", "second", ""), _caveat_cells(compared)))
    changes = [(each.gate, each.before, each.after, each.reason) for each in compared.gates]
    if changes:
        parts.append(_plain("Gates that ended otherwise", ("gate", "first", "second", "why"), changes))
    if compared.differences:
        parts.append(_differences(compared))
    notes = [f"nothing claimed: {why}" for why in _why_not(compared)]
    if compared.left_out:
        notes.append(f"left out: {len(compared.left_out)} scenario runs without a pair (--json names them)")
    parts += [Text(note, style="dim") for note in (*notes, *(f"note: {remark}" for remark in remarks(compared)))]
    parts.append(Text(one_line(compared.sentence), style="bold"))
    return Group(*parts)


def _runs(compared: RunComparison) -> Table:
    table = _table("Runs", ("", "pack", "verdict", "sha256"))
    for word, run in (("first", compared.before), ("second", compared.after)):
        table.add_row(word, Text(one_line(run.name)), str(run.judgement.verdict), run.digest[:16] + "…")
    return table


def _plain(title: str, head: tuple[str, ...], body: Sequence[tuple[str, ...]]) -> Table:
    table = _table(title, head)
    for cells in body:
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    return table


def _differences(compared: RunComparison) -> Table:
    """The figures without their reasons, so that each fits on one line; the reasons are listed once, below."""
    table = _table("Figures", ("figure", "first", "second", "change", f"{LEVEL:.0%} interval", ""))
    for row in rows(compared):
        subject, figure, before, after, change, interval, _, _ = row.cells
        cells = (f"{subject} {figure}", before, after, change, interval, "" if row.meaning == "open" else row.meaning)
        table.add_row(*(Text(cell, _STYLES[row.meaning] if place > 2 else "") for place, cell in enumerate(cells)))
    return table


def _why_not(compared: RunComparison) -> list[str]:
    """Every reason once, with its subjects."""
    subjects: dict[str, dict[str, None]] = {}
    for each in compared.differences:
        if each.claim is None:
            subjects.setdefault(each.why_not, {})[each.subject] = None
    return [f"{', '.join(names)}: {one_line(why)}" for why, names in subjects.items()]


def _table(title: str, head: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in head:
        table.add_column(column, overflow="fold", justify="right" if column in ("change", "pairs") else "left")
    return table


def _caveat_cells(compared: RunComparison) -> list[tuple[str, ...]]:
    caveats = compared.caveats
    return [(each.what, each.before, each.after, "blocks every claim" if each.blocks else "") for each in caveats]


def text(compared: RunComparison) -> str:
    """The comparison as GitHub-flavoured Markdown."""
    runs = [
        (word, run.name, str(run.judgement.verdict), str(run.manifest.seed), command(run.manifest))
        for word, run in (("first", compared.before), ("second", compared.after))
    ]
    parts = [
        "# Two runs side by side",
        f"{markdown(compared.sentence)}.",
        _markdown(("Run", "Pack", "Verdict", "Seed", "Command"), runs),
    ]
    changes = [(each.gate, each.before, each.after, each.reason) for each in compared.gates]
    for title, head, body in (
        ("Not alike", ("What", "First", "Second", ""), _caveat_cells(compared)),
        ("Gates that ended otherwise", ("Gate", "First", "Second", "Why"), changes),
        ("Figures", tuple(map(str.capitalize, _HEAD)), [row.cells for row in rows(compared)]),
    ):
        if body:
            parts += [f"## {title}", _markdown(head, body)]
    if compared.left_out:
        parts += ["## Left out", markdown_list(compared.left_out)]
    parts += ["## Reading it", markdown_list(remarks(compared))]
    return "\n\n".join(parts) + "\n"


def _markdown(head: tuple[str, ...], body: Sequence[tuple[str, ...]]) -> str:
    return markdown_table(head, (tuple(map(markdown, cells)) for cells in body))


def html(compared: RunComparison) -> str:
    """The comparison as one self-contained page."""
    return render(
        "compare.html.j2",
        compared=compared,
        head=_HEAD,
        rows=rows(compared),
        caveats=_caveat_cells(compared),
        remarks=remarks(compared),
        commands=tuple(command(run.manifest) for run in (compared.before, compared.after)),
        picture=differences_plot(compared.differences),
    )


def documents(compared: RunComparison) -> dict[str, bytes]:
    """The files of ``--out``, by name."""
    return {"compare.html": html(compared).encode(), "compare.md": text(compared).encode()}
