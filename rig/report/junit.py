"""``junit.xml``: one test case a gate, for the test view of a CI.

FAIL becomes a failure, INVALID an error, NOT-RUN skipped. A cause is one failure: what only follows from other gates
of the document, such as an exit gate from its members, is skipped and names them. Each exit gate is a suite that starts
with its own verdict. A gate that several exit gates rest on is listed in the first of them only, so that no gate counts
twice. The document follows Jenkins' schema (xunit-plugin, junit-10.xsd), which GitLab and GitHub read as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from xml.etree import ElementTree as ET

from rig.checks.judge import EXIT_GATES
from rig.checks.rows import ROWS
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.text import figures_words, one_line, xml_text

_ELEMENTS = {Verdict.FAIL: "failure", Verdict.INVALID: "error", Verdict.NOT_RUN: "skipped"}
_MESSAGE_FIGURES = 3
_STORMS, _OTHERS = "storms", "other gates"
_SECONDS = "{:.3f}"


def junit(manifest: Manifest, judgement: Judgement) -> bytes:
    """The judgement as a JUnit document, UTF-8."""
    name = f"rig {manifest.verb}"
    judgement = replace(judgement, gates=tuple(_follow(judgement)))
    counts = _counts(judgement.gates)
    del counts["skipped"]  # Jenkins' schema allows it in a suite only
    root = ET.Element("testsuites", {"name": xml_text(name), **counts})
    root.set("time", _SECONDS.format(manifest.duration_s or 0))
    times_s = _seconds_of_scenarios(manifest)
    for title, gates in _suites(judgement).items():
        cases = [
            _case(f"{name}.{title}", gate, times_s.pop(gate.id.partition(".")[0], 0.0), judgement.on_purpose)
            for gate in gates
        ]
        suite = ET.SubElement(root, "testsuite", {"name": xml_text(title), **_counts(gates)})
        suite.set("time", _SECONDS.format(sum(float(case.get("time", 0)) for case in cases)))
        suite.set("timestamp", manifest.started_utc.strftime("%Y-%m-%dT%H:%M:%S"))
        suite.append(_properties(manifest, judgement))
        suite.extend(cases)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _follow(judgement: Judgement) -> Iterator[Gate]:
    """The gates, of which those that follow from others are NOT-RUN and say from which."""
    members = {each.id: {*each.members, *each.besides} for each in EXIT_GATES}
    missed = judgement.having(Verdict.FAIL, Verdict.INVALID)
    for gate in judgement.gates:
        causes = [
            each.id
            for each in missed
            if each.verdict is gate.verdict
            and (each.id in members.get(gate.id, ()) or (gate.id == "totals" and ROWS.covers(each.id)))
        ]
        if causes and gate in (*missed, *judgement.exit_gates):
            yield replace(gate, verdict=Verdict.NOT_RUN, reason=f"{gate.verdict}: follows from {', '.join(causes)}")
        else:
            yield gate


def _suites(judgement: Judgement) -> dict[str, list[Gate]]:
    """The gates by suite, in the order of the exit gates; no suite is empty."""
    titles = {exit_gate.id: f"{exit_gate.id.replace('.', '-')} {exit_gate.title}" for exit_gate in EXIT_GATES}
    homes: dict[str, str] = {}
    for exit_gate in EXIT_GATES:
        for name in (exit_gate.id, *exit_gate.members, *exit_gate.besides):
            homes.setdefault(name, titles[exit_gate.id])
    suites: dict[str, list[Gate]] = {title: [] for title in (*titles.values(), _STORMS, _OTHERS)}
    for gate in judgement.gates:
        fallback = _STORMS if gate.id.startswith("storm.") else _OTHERS
        suites[homes.get(gate.id, fallback)].append(gate)
    return {title: gates for title, gates in suites.items() if gates}


def _properties(manifest: Manifest, judgement: Judgement) -> ET.Element:
    properties = ET.Element("properties")
    for key, value in (
        ("verdict", judgement.verdict),
        ("exit_code", judgement.exit_code),
        *([("on_purpose", judgement.on_purpose)] if judgement.on_purpose else []),
        ("seed", manifest.seed),
        ("run_id", manifest.key.run_id if manifest.key else ""),
        ("profile", manifest.profile.get("name", "")),
        ("rig_version", manifest.rig_version),
        *((f"detection_power.{power.name}", power.words) for power in judgement.detection_power),
    ):
        ET.SubElement(properties, "property", {"name": key, "value": xml_text(value)})
    return properties


def _case(classname: str, gate: Gate, time_s: float, on_purpose: str) -> ET.Element:
    """One test case. Its ``name`` is the same in every run, so that a CI can show its history."""
    case = ET.Element("testcase", {"classname": xml_text(classname), "name": xml_text(one_line(gate.id))})
    case.set("time", _SECONDS.format(time_s))
    claim = " · ".join(filter(None, (one_line(gate.rule), figures_words(gate.figures, _MESSAGE_FIGURES))))
    if gate.verdict is Verdict.NOT_RUN:
        ET.SubElement(case, "skipped", {"message": xml_text(one_line(gate.reason or gate.rule))})
    elif gate.verdict in _ELEMENTS:
        fault = ET.SubElement(case, _ELEMENTS[gate.verdict], {"type": gate.verdict, "message": xml_text(claim)})
        asked = f"\non purpose: {on_purpose}" if on_purpose else ""
        words = f"{claim}\nwhy: {gate.reason or gate.verdict}\nseen: {figures_words(gate.figures)}{asked}"
        fault.text = xml_text(words)
    ET.SubElement(case, "system-out").text = xml_text(f"{gate.rule}\n{figures_words(gate.figures)}")
    return case


def _seconds_of_scenarios(manifest: Manifest) -> dict[str, float]:
    """The time that each scenario took. Only the first gate of a scenario gets it, so that no time counts twice."""
    times_s: dict[str, float] = {}
    for run in manifest.scenario_runs:
        times_s[run.scenario.id] = times_s.get(run.scenario.id, 0.0) + run.elapsed_s
    return times_s


def _counts(gates: Sequence[Gate]) -> dict[str, str]:
    """How many of each verdict, as attributes."""
    verdicts = [gate.verdict for gate in gates]
    return {
        "tests": str(len(verdicts)),
        "failures": str(verdicts.count(Verdict.FAIL)),
        "errors": str(verdicts.count(Verdict.INVALID)),
        "skipped": str(verdicts.count(Verdict.NOT_RUN)),
    }
