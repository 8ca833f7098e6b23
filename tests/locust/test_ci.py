"""``rig ci``: what becomes of several steps."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from rig.errors import ExitCode
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.pack import Pack
from rig.profile import bundled_profile
from rig.profile.discovery import Origin, ProfileChoice
from rig.run.reporter import Reporter
from rig.verbs.ci import (
    JUNIT,
    QUICK_MIX_S,
    PipelineStep,
    StepRun,
    _merge,
    document_of,
    exit_code_of,
    run_ci,
    steps_of,
    summary_of,
    workflow_commands,
)
from tests.cli.commands import Going
from tests.waiting import wait_until

STEP = PipelineStep("a storm, of kids", ())


def test_a_quick_pipeline_has_the_steps_of_a_whole_one_and_takes_less() -> None:
    whole, quick = (
        steps_of(ProfileChoice(bundled_profile(), Origin.NOTHING), 7, quick=quick, seconds=20, workers=2)
        for quick in (False, True)
    )
    assert [step.title for step in whole] == [step.title for step in quick]
    assert [step.arguments[0] for step in whole] == ["run", "storm", "mix"]
    for step in (*whole, *quick):
        assert step.arguments[-2:] == ("--seed", "7")
    assert "20" in whole[2].arguments
    assert str(QUICK_MIX_S) in quick[2].arguments
    assert "--case" in quick[1].arguments


def test_every_step_gets_the_profile_and_a_storm_only_where_it_says_how(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    text = bundled_profile().read_text()
    profile.write_text(text[: text.index("[storms.unknown-kid]")])
    steps = steps_of(ProfileChoice(profile, Origin.OPTION), 7, quick=False, seconds=20, workers=2)
    assert [step.arguments[0] for step in steps] == ["run", "mix"]
    assert all(step.arguments[-2:] == ("--profile", str(profile)) for step in steps)


def test_annotations_are_escaped_and_name_what_failed(tmp_path: Path) -> None:
    pack = Pack.create(tmp_path, "run", 1, datetime.now(UTC))
    gates = (
        Gate("S1.rows", Verdict.FAIL, "rule", reason="50% lost\nand more"),
        Gate("hygiene", Verdict.INVALID, "rule"),
        Gate("S2.rows", Verdict.PASS, "rule"),
    )
    pack.write_judgement(Judgement(Verdict.FAIL, 1, gates))
    pack.write(JUNIT, b"<testsuites/>")
    assert workflow_commands([StepRun(STEP, 1, pack), StepRun(STEP, 69, None)]) == [
        "::error title=a storm%2C of kids%3A S1.rows::FAIL: 50%25 lost%0Aand more",
        "::warning title=a storm%2C of kids%3A hygiene::INVALID: rule",
        "::error title=a storm%2C of kids::ended with exit code 69, left no documents",
    ]


def test_one_junit_document_of_several(tmp_path: Path) -> None:
    paths = []
    for number in range(2):
        path = tmp_path / f"{number}.xml"
        path.write_text(f'<testsuites><testsuite name="{number}"><testcase name="x"/></testsuite></testsuites>')
        paths.append(path)
    merged = ET.fromstring(_merge(paths))
    assert [suite.get("name") for suite in merged.findall("testsuite")] == ["0", "1"]


# --- a step that is killed, and what others left before ------------------------------------------------------------

STEPS = (PipelineStep("the ladder", ("run",)), PipelineStep("the mix", ("mix",)))


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A results directory in which an earlier pipeline left a pack."""
    file(tmp_path, "perf")
    return tmp_path


def file(out: Path, verb: str, *, whole: bool = True) -> None:
    """The pack of a run; one that was killed (not ``whole``) is not judged, and has no documents."""
    pack = Pack.create(out, verb, 1, datetime.now(UTC))
    pack.write("manifest.json", b"{}")
    if whole:
        pack.write_judgement(Judgement(Verdict.PASS, 0, (Gate(f"{verb}.rows", Verdict.PASS, "rule"),)))
        pack.write("summary.md", f"# PASS: {verb}\n".encode())
        pack.write(JUNIT, f'<testsuites><testsuite name="{verb}"/></testsuites>'.encode())
        pack.seal()


def piped(out: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> tuple[StepRun, ...]:
    """A pipeline whose first step is killed by the kernel and whose second one passes."""

    def stood_in_for(_: str) -> list[str]:
        return [sys.executable, "-c", "from tests.locust.test_ci import stand_in; stand_in()"]

    monkeypatch.setattr("rig.verbs.ci.python_module", stood_in_for)
    return run_ci(STEPS, out, environ, Reporter())


def stand_in() -> None:
    """What the steps are instead of the rig."""
    verb, _, out = sys.argv[1:]
    file(Path(out), verb, whole=verb != "run")
    if verb == "run":
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_step_that_was_killed_is_reported_with_the_others(
    beside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = beside / "job.md"
    done = piped(beside, monkeypatch, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page)})
    assert exit_code_of(done) == -signal.SIGKILL
    assert [suite.get("name") for suite in ET.parse(beside / JUNIT).getroot()] == ["mix"]
    assert "::error title=the ladder::ended with exit code -9, left no documents" in capsys.readouterr().err
    said = ["# the ladder", "ended with exit code -9, left no documents", "# PASS: mix"]
    assert [line for line in page.read_text().splitlines() if line] == said
    assert [line for line in summary_of(done).splitlines() if line] == said


def test_only_what_this_pipeline_did_is_told(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = document_of(piped(beside, monkeypatch, {}), beside)
    assert [[gate["id"] for gate in pack["gates"]] for pack in document["packs"]] == [["mix.rows"]]


@pytest.mark.full
def test_an_interrupt_is_the_running_steps_which_judges_what_it_has(tmp_path: Path) -> None:
    going = Going(("ci", "--quick", "--out", str(tmp_path)))
    wait_until(lambda: any(tmp_path.glob("*.partial/logs/target.log")), 60)
    going.signal(signal.SIGTERM)
    ended = going.end()
    assert ended.code == ExitCode.INTERRUPTED, ended.err
    (pack,) = (path.parent for path in tmp_path.glob("*/manifest.json"))
    assert pack.name.endswith("-run-1"), "finished, and nothing began after it"
    assert (pack / "verdicts.json").is_file()
    assert ET.parse(tmp_path / JUNIT).getroot().findall("testsuite")
