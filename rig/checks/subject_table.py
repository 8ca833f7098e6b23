"""The table of a scoreboard: what each subject of a list came to. Pure, from the reports of their storms.

It is shown, not judged: the subjects are no part of the service that is tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rig.checks.key_storms.figures import expected_fetches
from rig.checks.key_storms.findings import BAD
from rig.checks.key_storms.gates import storm_gates
from rig.checks.race_tests.catalog import RACE_KINDS, gates_of
from rig.evidence.gate import Gate, Verdict
from rig.evidence.key_case import Start, Token
from rig.evidence.key_storm import KeyStorm
from rig.evidence.storm import StormReport
from rig.text import counted, markdown, markdown_table, shorten

_REASON_SHOWN = 300
_HEAD = ("subject", "version", "verdict", "gates that pass", "figures", "what is wrong", "what it does")


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """One subject: its verdict, how many of the gates that were tried pass, its figures, and what is wrong."""

    name: str
    version: str
    note: str
    verdict: str
    passed: int
    tried: int
    figures: str
    wrong: tuple[str, ...]


def row_of(
    name: str, version: str, note: str, reports: Sequence[StormReport | KeyStorm], problem: str = ""
) -> SubjectRow:
    """The row of one subject; ``problem`` says why it was not tested."""
    gates = [gate for one in reports for gate in (storm_gates(one) if isinstance(one, KeyStorm) else gates_of(one))]
    tried = [gate for gate in gates if gate.verdict is not Verdict.NOT_RUN]
    wrong = [gate for gate in tried if gate.verdict is not Verdict.PASS]
    return SubjectRow(
        name,
        version,
        note,
        _verdict(tried),
        len(tried) - len(wrong),
        len(tried),
        "; ".join(filter(None, map(_figures, reports))),
        (problem,) if problem else tuple(_sentence(gate) for gate in wrong),
    )


def _verdict(tried: Iterable[Gate]) -> str:
    found = {gate.verdict for gate in tried}
    order = (Verdict.FAIL, Verdict.INVALID, Verdict.PASS)
    return next((verdict for verdict in order if verdict in found), Verdict.NOT_RUN).value


def _sentence(gate: Gate) -> str:
    place = gate.id.removeprefix("storm.")
    invalid = "INVALID, " if gate.verdict is Verdict.INVALID else ""
    return f"{place}: {invalid}{shorten(gate.reason, _REASON_SHOWN)}"


def _figures(report: StormReport | KeyStorm) -> str:
    """The figures that tell most, in a few words."""
    if report.not_run:
        return ""
    if isinstance(report, KeyStorm):
        kinds = report.calls["token"].astype(str).map(Token.of)
        asked = {"bad tokens": kinds.isin(BAD), "tokens without a key id": kinds == Token.UNNAMED}
        said = [
            f"{int(report.calls['accepted'][which].sum())} of {which.sum()} {what} accepted"
            for what, which in asked.items()
            if which.any()
        ]
        enough = expected_fetches(report) + (report.start is not Start.COLD)
        if report.case != "forged-tokens":
            said.insert(0, f"{counted(report.before + len(report.fetches), 'fetch')} where {enough} do")
        return f"{report.case}: {', '.join(said)}"
    return str(RACE_KINDS[report.storm].read(report.figures).summary)


def as_document(title: str, storm: str, settings: str, rows: Sequence[SubjectRow]) -> dict[str, Any]:
    """For JSON."""
    return {"title": title, "storm": storm, "settings": settings, "subjects": [asdict(row) for row in rows]}


def as_markdown(title: str, storm: str, settings: str, when: str, rows: Sequence[SubjectRow]) -> str:
    """The table, and below it every gate that does not pass."""
    table = markdown_table(
        _HEAD,
        [
            tuple(
                map(
                    markdown,
                    (
                        row.name,
                        row.version or "-",
                        row.verdict,
                        f"{row.passed} of {row.tried}",
                        row.figures or "-",
                        row.wrong[0] if row.wrong else "-",
                        row.note or "-",
                    ),
                )
            )
            for row in rows
        ],
    )
    details = [
        f"## {markdown(row.name)}\n\n" + "\n".join(f"- {markdown(sentence)}" for sentence in row.wrong) + "\n"
        for row in rows
        if row.wrong
    ]
    head = f"# {title}\n\nMade by `rig storm {storm} --scoreboard FILE` at {when}; {settings}.\n"
    return "\n".join([head, table, "", *details])
