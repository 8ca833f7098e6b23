"""``junit.xml``: one test case a gate, for the test view of a CI.

FAIL is a failure, INVALID an error, NOT-RUN skipped: the words by which a test runner tells "it is wrong" from "I could
not tell" and "I did not try".
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.evidence.text import figures_words, xml_text
from rig.model import Gate, Verdict

_ELEMENTS = {Verdict.FAIL: "failure", Verdict.INVALID: "error", Verdict.NOT_RUN: "skipped"}


def junit(manifest: Manifest, judgement: Judgement) -> bytes:
    """The judgement as a JUnit document, UTF-8."""
    name = xml_text(f"rig.{manifest.verb}")
    counts = {
        "tests": len(judgement.gates),
        "failures": _count(judgement, Verdict.FAIL),
        "errors": _count(judgement, Verdict.INVALID),
        "skipped": _count(judgement, Verdict.NOT_RUN),
    }
    attributes = {"name": name, **{key: str(value) for key, value in counts.items()}}
    attributes["time"] = f"{manifest.duration_s or 0:.3f}"
    root = ET.Element("testsuites", attributes)
    started = manifest.started_utc.strftime("%Y-%m-%dT%H:%M:%S")
    suite = ET.SubElement(root, "testsuite", {**attributes, "timestamp": started})
    properties = ET.SubElement(suite, "properties")
    for key, value in (
        ("verdict", judgement.verdict),
        ("exit_code", judgement.exit_code),
        ("seed", manifest.seed),
        ("profile", manifest.profile.get("name", "")),
    ):
        ET.SubElement(properties, "property", {"name": key, "value": xml_text(value)})
    for gate in judgement.gates:
        _case(suite, name, gate)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _case(suite: ET.Element, name: str, gate: Gate) -> None:
    case = ET.SubElement(suite, "testcase", {"classname": name, "name": xml_text(gate.id)})
    figures = xml_text(figures_words(gate.figures))
    if gate.verdict in _ELEMENTS:
        message = xml_text(gate.reason or gate.rule)
        fault = ET.SubElement(case, _ELEMENTS[gate.verdict], {"message": message})
        if gate.verdict is not Verdict.NOT_RUN:
            fault.set("type", gate.verdict)
            fault.text = xml_text(f"claimed: {gate.rule}\nseen: {figures}")
    ET.SubElement(case, "system-out").text = f"{xml_text(gate.rule)}\n{figures}"


def _count(judgement: Judgement, verdict: Verdict) -> int:
    return sum(gate.verdict is verdict for gate in judgement.gates)
