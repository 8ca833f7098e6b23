"""The verdict in short: the table on the console and ``summary.md``, made of the same rows.

Flow: ``gate_rows`` turns gates into rows of words. ``console`` lays them out for a terminal of any width; ``summary``
writes them as Markdown, for a pull request or the page of a CI job. Both start with the exit gates. Text from a pack is
never read as terminal codes, rich markup or Markdown.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rig.diagnose import Diagnosis, explain
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.evidence.power import power_sentence
from rig.text import by_word, figures_words, markdown, markdown_list, markdown_table, one_line, shorten

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.INVALID: "bold yellow",
    Verdict.NOT_RUN: "dim",
}
_CONSOLE_FIGURES = 3
_CONSOLE_REASON = 400
_GATE_WIDTH = 40


@dataclass(frozen=True, slots=True)
class GateRow:
    """One gate in words: ``what`` it claims, ``seen`` with all its figures, ``headline`` with the first three."""

    verdict: Verdict
    gate: str
    what: str
    headline: str
    seen: str
    why: str


def gate_rows(gates: tuple[Gate, ...]) -> tuple[GateRow, ...]:
    """The gates in words, each on one line."""
    return tuple(
        GateRow(
            verdict=gate.verdict,
            gate=one_line(gate.id),
            what=one_line(gate.rule),
            headline=figures_words(gate.figures, _CONSOLE_FIGURES),
            seen=figures_words(gate.figures),
            why=one_line(gate.reason),
        )
        for gate in gates
    )


def command(manifest: Manifest) -> str:
    """The command line of the run, quoted for a shell."""
    return one_line(shlex.join(manifest.argv))


def find_gaps(case: Case, judgement: Judgement) -> tuple[str, ...]:
    """What this run did not measure, each with its reason."""
    gates = [f"{gate.id}: {gate.reason or gate.rule}" for gate in judgement.gates if gate.verdict is Verdict.NOT_RUN]
    parts = {
        "null benchmark: there is no certificate, so nothing shows how fast the client is": case.certificate is None,
        "latency calibration: measured latency was not checked against known latency": bool(
            case.certificate and case.certificate.latency_calibration is None
        ),
        "truth: the database was not read": case.truth is None,
        "health: no probe was asked during the load": case.probes.empty,
        "leak check: nobody looked for what the run may have left behind": not case.leak_findings,
    }
    cut = by_word((run.scenario.label, "interrupted") for run in case.scenario_runs if run.interrupted)
    silent = by_word((run.scenario.label, "a worker gave no report") for run in case.scenario_runs if not run.complete)
    kept = case.shapes.left_out if case.shapes is not None else {}
    unshaped = [f"S10: {words}" for words in by_word(kept.items())]
    absent = [part for part, is_absent in parts.items() if is_absent]
    unseen = [f"{report.name}: {what}" for report in case.samples.reports for what in report.unseen]
    return tuple(one_line(item) for item in (*gates, *absent, *cut, *silent, *unseen, *unshaped))


def console(
    judgement: Judgement, diagnosis: Diagnosis | None = None, *, pack: Path | None = None, digest: str | None = None
) -> RenderableType:
    """The table at the end of a run. The caller's rich console decides on width, colour and stream."""
    parts: list[RenderableType] = []
    width = min(_GATE_WIDTH, max((len(gate.id) for gate in judgement.gates), default=0))
    for title, gates, say_what in (
        ("Exit gates", judgement.exit_gates, True),
        ("Gates", judgement.plain_gates, False),
    ):
        if gates:
            parts += [
                Text(title, style="bold"),
                Padding(_table(gate_rows(gates), width, say_what=say_what), (0, 0, 1, 1)),
            ]
    head = Text.assemble((str(judgement.verdict), _STYLES[judgement.verdict]), f"  exit {judgement.exit_code}  ")
    parts.append(head + Text(one_line(judgement.sentence)))
    if power := power_sentence(judgement.detection_power):
        parts.append(Text(f"power     {one_line(power)}", overflow="fold"))
    if diagnosis is not None:
        parts.append(Text(f"diagnosis {one_line(diagnosis.answer)}", overflow="fold"))
    if pack is not None:
        parts.append(Text(f"evidence  {one_line(pack)}", overflow="fold"))
    if digest is not None:
        parts.append(Text(f"sha256    {digest}", overflow="fold"))
    return Group(*parts)


def _table(rows: tuple[GateRow, ...], width: int, *, say_what: bool) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, width=7)
    table.add_column(no_wrap=True, width=width)
    table.add_column(ratio=1, overflow="fold")
    for row in rows:
        text = row.what if say_what else row.headline or row.what
        table.add_row(Text(row.verdict, style=_STYLES[row.verdict]), Text(shorten(row.gate, _GATE_WIDTH)), Text(text))
        if row.why and row.verdict is not Verdict.PASS:
            table.add_row("", "", Text(f"└ {shorten(row.why, _CONSOLE_REASON)}", style=_STYLES[row.verdict]))
    return table


def summary(manifest: Manifest, case: Case, judgement: Judgement) -> str:
    """The run as one page of GitHub-flavoured Markdown."""
    duration = "not finished" if manifest.duration_s is None else f"{manifest.duration_s:.0f} s"
    about = (
        f"{manifest.started_utc:%Y-%m-%d %H:%M:%S} UTC",
        duration,
        f"profile {manifest.profile.get('name', 'none')}",
        f"seed {manifest.seed}",
        f"exit {judgement.exit_code}",
    )
    parts = [
        f"# {judgement.verdict}: rig {markdown(manifest.verb)}",
        " · ".join(markdown(item) for item in about),
        f"{markdown(judgement.sentence)}.",
    ]
    diagnosis = explain(case)
    if power := power_sentence(judgement.detection_power):
        parts.append(f"**Detection power:** {markdown(power)}.")
    if diagnosis is not None:
        parts.append(f"**Diagnosis:** {markdown(diagnosis.answer)}")
    for title, gates in (("Exit gates", judgement.exit_gates), ("Gates", judgement.plain_gates)):
        if gates:
            parts += [f"## {title}", _gate_table(gate_rows(gates))]
    if diagnosis is not None and diagnosis.hypotheses:
        parts += ["## Diagnosis", _diagnosis_table(diagnosis)]
    parts += ["## Not measured", markdown_list(find_gaps(case, judgement)) or "Nothing was left out."]
    if case.notes:
        parts += ["## Notes", markdown_list(case.notes)]
    parts += ["## Do it again", _code_block(command(manifest))]
    return "\n\n".join(parts) + "\n"


def _gate_table(rows: tuple[GateRow, ...]) -> str:
    return markdown_table(
        ("Verdict", "Gate", "Claim", "Seen", "Why not"),
        (
            (
                row.verdict if row.verdict is Verdict.PASS else f"**{row.verdict}**",
                *map(markdown, (row.gate, row.what, row.seen, row.why)),
            )
            for row in rows
        ),
    )


def _diagnosis_table(diagnosis: Diagnosis) -> str:
    return markdown_table(
        ("Hypothesis", "", "Outcome", "Because"),
        (
            (
                each.id,
                markdown(each.title),
                f"**{each.outcome}**" if each.outcome == "supported" else each.outcome,
                markdown(each.because),
            )
            for each in diagnosis.hypotheses
        ),
    )


def _code_block(text: str) -> str:
    """A code block whose fence is longer than any run of backticks within."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}console\n$ {text}\n{fence}"
