"""A comparison for people: the table on the console, ``compare.md``, ``compare.html``. All made of the same rows.

Text from a pack is never read as terminal codes, markup or Markdown; the page carries the report's own policy.
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
from rig.text import markdown, number, one_line

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
    """What has to be known to read the intervals."""
    by_chance = compared.intervals * (1 - LEVEL)
    said = [
        f"{compared.intervals} intervals at {LEVEL:.0%}: about {number(round(by_chance, 1))} of them leave out 0 by "
        "chance alone"
        if compared.intervals
        else "",
        "an interval is about these two runs, which are two moments of a machine: that a change of the target made a "
        "difference takes several runs of both, in turns",
    ]
    return tuple(filter(None, said))


def console(compared: RunComparison) -> RenderableType:
    """The comparison for a terminal; the caller's rich console decides on width, colour and stream."""
    parts: list[RenderableType] = [_runs(compared)]
    if compared.caveats:
        parts.append(_plain("Not alike", ("", "first", "second", ""), _caveat_cells(compared)))
    changes = [(each.gate, each.before, each.after, each.reason) for each in compared.gates]
    if changes:
        parts.append(_plain("Gates that ended otherwise", ("gate", "first", "second", "why"), changes))
    if compared.differences:
        parts += [_differences(compared), *(Text(f"nothing claimed: {why}", style="dim") for why in _why_not(compared))]
    if compared.left_out:
        parts.append(Text(f"left out: {len(compared.left_out)} drives without a pair (--json names them)", style="dim"))
    parts += [Text(f"note: {remark}", style="dim") for remark in remarks(compared)]
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
    """Each on a line, also on a narrow terminal; why nothing is claimed is said once, below."""
    table = _table("Figures", ("figure", "first", "second", "change", f"{LEVEL:.0%} interval", ""))
    for row in rows(compared):
        subject, figure, before, after, change, interval, _, _ = row.cells
        cells = (f"{subject} {figure}", before, after, change, interval, "" if row.meaning == "open" else row.meaning)
        table.add_row(*(Text(cell, _STYLES[row.meaning] if place > 2 else "") for place, cell in enumerate(cells)))
    return table


def _why_not(compared: RunComparison) -> list[str]:
    """Every reason once, with the subjects that it holds for."""
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
    return [
        (
            one_line(caveat.what),
            one_line(caveat.before),
            one_line(caveat.after),
            "blocks every claim" if caveat.blocks else "",
        )
        for caveat in compared.caveats
    ]


def text(compared: RunComparison) -> str:
    """The comparison as GitHub-flavoured Markdown."""
    runs = [
        (word, run.name, str(run.judgement.verdict), str(run.manifest.seed), command(run.manifest))
        for word, run in (("first", compared.before), ("second", compared.after))
    ]
    parts = [
        "# Two runs side by run",
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
        parts += ["## Left out", "\n".join(f"- {markdown(item)}" for item in compared.left_out)]
    parts += ["## Reading it", "\n".join(f"- {markdown(remark)}" for remark in remarks(compared))]
    return "\n\n".join(parts) + "\n"


def _markdown(head: tuple[str, ...], body: Sequence[tuple[str, ...]]) -> str:
    lines: list[tuple[str, ...]] = [head, ("---",) * len(head), *(tuple(map(markdown, cells)) for cells in body)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


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
