"""The shape that viewers rely on: Jenkins' junit-10.xsd as a table, since its elements and attributes are few."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.report.junit import junit

Run = tuple[Manifest, Case, Judgement]

COUNTS = {"tests", "failures", "errors"}
ALLOWED = {
    "testsuites": ({"name", "time"} | COUNTS, {"testsuite"}),
    "testsuite": ({"name", "time", "timestamp", "skipped"} | COUNTS, {"properties", "testcase"}),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name", "classname", "time"}, {"failure", "error", "skipped", "system-out"}),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "skipped": ({"message"}, set()),
    "system-out": (set(), set()),
}
REQUIRED = {"testsuite": {"name"} | COUNTS, "testcase": {"name"}, "property": {"name", "value"}}


def assert_shape(element: ET.Element) -> None:
    attributes, children = ALLOWED[element.tag]
    assert set(element.attrib) <= attributes, element.tag
    assert set(element.attrib) >= REQUIRED.get(element.tag, set()), element.tag
    for child in element:
        assert child.tag in children, f"{child.tag} in {element.tag}"
        assert_shape(child)


def suites(document: bytes) -> dict[str, ET.Element]:
    return {suite.attrib["name"]: suite for suite in ET.fromstring(document)}


def test_it_has_the_shape_that_viewers_read(bad: Run) -> None:
    manifest, _, judgement = bad
    root = ET.fromstring(junit(manifest, judgement))
    assert_shape(root)
    for element in root.iter():
        for name in ("time", "tests", "failures", "errors", "skipped"):
            assert re.fullmatch(r"\d+(\.\d{3})?", element.attrib.get(name, "0")), (element.tag, name)


def test_counts_and_times_add_up(bad: Run) -> None:
    manifest, _, judgement = bad
    root = ET.fromstring(junit(manifest, judgement))
    for name in COUNTS:
        assert int(root.attrib[name]) == sum(int(suite.attrib[name]) for suite in root)
    assert int(root.attrib["tests"]) == len(judgement.gates) == len(root.findall(".//testcase"))
    for suite in root:
        assert len(suite.findall("testcase")) == int(suite.attrib["tests"])
        assert len(suite.findall("testcase/skipped")) == int(suite.attrib["skipped"])
    driven_s = sum(
        scenario_run.elapsed_s
        for scenario_run in manifest.scenario_runs
        if scenario_run.scenario.id in ("S1", "S8", "sustained")
    )
    assert abs(sum(float(case.attrib["time"]) for case in root.findall(".//testcase")) - driven_s) < 0.01


def test_each_gate_stands_once_with_the_first_exit_gate_that_rests_on_it(bad: Run) -> None:
    manifest, _, judgement = bad
    storm = Gate("storm.random-kids.floor", Verdict.PASS, "one fetch a window")
    found = suites(junit(manifest, replace(judgement, gates=(*judgement.gates, storm))))
    names = {title: [case.attrib["name"] for case in suite.findall("testcase")] for title, suite in found.items()}
    assert names == {
        "EG3-1 privacy": ["EG3.1", "S8.rows", "privacy.logs"],
        "EG3-2 idempotency": ["EG3.2", "S1.rows"],
        "EG3-4 performance": ["EG3.4", "S8.time", "sustained.p95"],
        "EG3-5 validity of the measurement": ["calibration.null"],
        "storms": ["storm.random-kids.floor"],
        "other gates": ["probes"],
    }


def test_a_failure_says_rule_and_figure_in_its_first_line(bad: Run) -> None:
    manifest, _, judgement = bad
    failure = ET.fromstring(junit(manifest, judgement)).find(".//testcase[@name='S8.time']/failure")
    assert failure is not None
    rule = "the median trial answers all within 10.0 s · median 11.8 s · limit 10 s · trials 9.2, 11.8, 12.4 s"
    assert failure.attrib == {"type": "FAIL", "message": rule}
    assert failure.text is not None
    assert failure.text.splitlines()[:2] == [rule, "why: the median of 3 trials took 11.8 s, 1.8 s over the limit"]


def test_invalid_is_an_error_and_not_run_is_skipped_with_its_reason(bad: Run) -> None:
    manifest, _, judgement = bad
    root = ET.fromstring(junit(manifest, judgement))
    error = root.find(".//testcase[@name='probes']/error")
    skipped = root.find(".//testcase[@name='privacy.logs']/skipped")
    assert error is not None
    assert skipped is not None
    assert (error.attrib["type"], skipped.attrib["message"]) == ("INVALID", "the profile names no log files")


def test_what_stands_in_a_pack_is_text_in_the_document(good: Run) -> None:
    hostile = "</testcase>\x00\x1b]]>\ud800"
    gate = Gate(hostile, Verdict.FAIL, hostile, {hostile: hostile}, hostile)
    root = ET.fromstring(junit(good[0], Judgement(Verdict.FAIL, 1, (gate,))))
    assert_shape(root)
    assert root.findall(".//testcase")[0].attrib["name"].startswith("</testcase>\\x00\\x1b]]>")


def test_a_run_without_gates_is_a_document_too(good: Run) -> None:
    root = ET.fromstring(junit(replace(good[0], ended_utc=None, key=None), Judgement(Verdict.INVALID, 3, ())))
    assert (root.attrib["tests"], root.attrib["time"], len(root)) == ("0", "0.000", 0)
