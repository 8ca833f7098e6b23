"""The verdict in short: the table on the console and ``summary.md``, made of the same rows.

Flow: ``gate_rows`` turns gates into rows of words. ``console`` lays them out for a terminal of any width; ``summary``
writes them as Markdown for the page of a CI job, ``pull_request`` a few lines for a pull request. Text from a pack is
never read as terminal codes, rich markup or Markdown.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rig.evidence.case import Case
from rig.evidence.diagnosis import Diagnosis
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.evidence.power import power_sentence
from rig.report.shown import GateShown, smallest_example
from rig.text import by_word, figures_words, markdown, markdown_list, markdown_table, one_line, shorten

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.INVALID: "bold yellow",
    Verdict.NOT_RUN: "dim",
}
_CONSOLE_FIGURES = 3
_CONSOLE_REASON = 400
_FIGURES_MOST = 120
_GATE_WIDTH = 40
_LABEL_WIDTH = 10
_PR_GATES = 5
_NO_SCENARIOS = ("calibration", "privacy", "samplers", "locust")
"""Gates whose family is the first word of their name; that of others, such as S1.rows, is the last."""


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
    judgement: Judgement,
    *,
    failing: Sequence[GateShown] = (),
    pack: Path | None = None,
    digest: str | None = None,
) -> RenderableType:
    """What stands at the end of a run: what failed with its smallest example, what passed, the verdict, and the way on.

    The caller's rich console decides on width, colour and stream.
    """
    parts: list[RenderableType] = []
    missed, rest = judgement.having(Verdict.FAIL, Verdict.INVALID), judgement.having(Verdict.NOT_RUN)
    passed = tuple(families(judgement.having(Verdict.PASS)))
    named = [*(gate.id for gate in (*missed, *rest)), *(family for family, _ in passed)]
    width = min(_GATE_WIDTH, max(map(len, named), default=0))
    if missed:
        shown = {page.gate.id: page for page in failing}
        parts += [Text("Missed", style="bold"), _indent(_table(gate_rows(missed), width, shown))]
    if judgement.exit_gates:
        parts += [Text("Exit gates", style="bold"), _indent(_exit_gates(judgement.exit_gates))]
    if passed:
        parts += [Text("Passed", style="bold"), _indent(_families(passed, width))]
    if rest:
        parts += [Text("Not tried", style="bold"), _indent(_table(gate_rows(rest), width))]
    head = Text.assemble((str(judgement.verdict), _STYLES[judgement.verdict]), f"  exit {judgement.exit_code}: ")
    parts.append(head + Text(one_line(judgement.sentence)))
    name, answer = judgement.about_speed
    lines = {
        "on purpose": judgement.on_purpose,
        name: answer,
        "power": power_sentence(judgement.detection_power),
        "evidence": "" if pack is None else pack,
        "report": "" if pack is None else pack / "report.html",
        "sha256": digest or "",
    }
    labels = _table_of_columns(_LABEL_WIDTH, gap=1)
    for name, words in lines.items():
        if words:
            labels.add_row(f"{name:<{_LABEL_WIDTH}}", Text(one_line(words), overflow="fold"))
    return Group(*parts, labels) if labels.rows else Group(*parts)


def families(gates: Sequence[Gate]) -> Iterator[tuple[str, str]]:
    """Gates by what they are about, in words: ``rows``: ``S1, S2``. One that is alone has its figures."""
    found: dict[str, dict[str, Gate]] = {}
    for gate in gates:
        name, _, last = gate.id.rpartition(".")
        family, member = (last, name) if name and "." not in name and name not in _NO_SCENARIOS else (name, last)
        found.setdefault(one_line(family or last), {})[one_line(member)] = gate
    for family, members in found.items():
        name, gate = next(iter(members.items()))
        figures = figures_words(gate.figures, _CONSOLE_FIGURES)
        figures = figures if len(figures) <= _FIGURES_MOST else figures_words(gate.figures, 1)
        alone = (name if name != family else "", figures)
        yield family, " · ".join(filter(None, alone)) if len(members) == 1 else ", ".join(members)


def _indent(table: Table) -> Padding:
    return Padding(table, (0, 0, 1, 1))


def _table_of_columns(*widths: int, gap: int = 2) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, gap, 0, 0))
    for width in widths:
        table.add_column(no_wrap=True, width=width)
    table.add_column(ratio=1, overflow="fold")
    return table


def _exit_gates(gates: Sequence[Gate]) -> Table:
    table = _table_of_columns(7, max(len(gate.id) for gate in gates))
    for row in gate_rows(tuple(gates)):
        why = f" └ {row.why}" if row.why and row.verdict is not Verdict.PASS else ""
        table.add_row(
            Text(row.verdict, style=_STYLES[row.verdict]), row.gate, Text(shorten(f"{row.what}{why}", _CONSOLE_REASON))
        )
    return table


def _families(passed: Sequence[tuple[str, str]], width: int) -> Table:
    table = _table_of_columns(7, width)
    for family, words in passed:
        table.add_row(Text("PASS", style=_STYLES[Verdict.PASS]), Text(shorten(family, _GATE_WIDTH)), Text(words))
    return table


def _table(rows: tuple[GateRow, ...], width: int, shown: Mapping[str, GateShown] = MappingProxyType({})) -> Table:
    table = _table_of_columns(7, width)
    for row in rows:
        style = _STYLES[row.verdict]
        text = row.headline or row.what
        if row.verdict is Verdict.NOT_RUN:
            text = row.why or row.what
        table.add_row(
            Text(row.verdict, style=style), Text(shorten(row.gate, _GATE_WIDTH)), Text(shorten(text, _CONSOLE_REASON))
        )
        if row.verdict is Verdict.NOT_RUN:
            continue
        for words, how in _below(row, shown.get(row.gate)):
            table.add_row("", "", Text(f"└ {shorten(words, _CONSOLE_REASON)}", style=style if how else "dim"))
    return table


def _below(row: GateRow, page: GateShown | None) -> Iterator[tuple[str, bool]]:
    """The lines below a gate, and whether each is the reason itself."""
    if row.why:
        yield row.why, True
    if page is None:
        return
    for label, words in (("hint: ", page.hint), ("e.g. ", smallest_example(page)), ("", page.rest)):
        if words and words not in row.why:
            yield f"{label}{words}", False


def pull_request(manifest: Manifest, judgement: Judgement, failing: Sequence[GateShown]) -> str:
    """A few lines of Markdown for a pull request: the verdict, what failed with an example, why it was slow."""
    shown = {page.gate.id: page for page in failing}
    missed = judgement.having(Verdict.FAIL, Verdict.INVALID)
    profile = manifest.profile.get("name", "no profile")
    parts = [
        f"**{judgement.verdict}** · rig {markdown(manifest.verb)} · {markdown(profile)}",
        f"{markdown(judgement.sentence)}.",
        *_purpose(judgement),
    ]
    lines = []
    for gate in missed[:_PR_GATES]:
        example = smallest_example(shown[gate.id]) if gate.id in shown else ""
        words = shorten(gate.reason or gate.rule, _CONSOLE_REASON)
        lines.append(f"- **{gate.verdict} {markdown(gate.id)}**: {markdown(words)}")
        lines += [f"  - e.g. {markdown(shorten(example, _CONSOLE_REASON))}"] if example else []
    if len(missed) > _PR_GATES:
        lines.append(f"- and {len(missed) - _PR_GATES} more, in `report.html`")
    name, words = judgement.about_speed
    answer = f"{name.capitalize()}: {markdown(words)}" if words else ""
    return "\n\n".join(part for part in (*parts, "\n".join(lines), answer) if part) + "\n"


def _purpose(judgement: Judgement) -> list[str]:
    return [f"**On purpose:** {markdown(judgement.on_purpose)}."] if judgement.on_purpose else []


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
        *_purpose(judgement),
    ]
    diagnosis, (name, words) = judgement.diagnosis, judgement.about_speed
    if words:
        parts.append(f"**{name.capitalize()}:** {markdown(words)}")
    if power := power_sentence(judgement.detection_power):
        parts.append(f"**Detection power:** {markdown(power)}.")
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
                markdown(each.id),
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
