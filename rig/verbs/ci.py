"""``rig ci``: what a pipeline checks before a release, in a few minutes.

Flow: each step is a command of the rig's in a process of its own: null gate, ladder and perf gate; the unknown-kid
storm; the sustained mix under locust with native workers. Each leaves a pack. At the end the summaries are printed one
after another, the JUnit documents become one, and on GitHub the job gets a summary and annotations. Nothing is judged
here: each step has its own verdict, and the worst one is the exit code.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from rig.errors import ConfigError, EvidenceError, ExitCode, worst_exit
from rig.evidence.gate import Gate, Verdict
from rig.evidence.pack import Pack
from rig.evidence.storm import UNKNOWN_KID
from rig.machine.child import end, python_module, start
from rig.machine.supervisor import Supervisor
from rig.profile.discovery import ProfileChoice
from rig.run.reporter import Reporter

JUNIT = "junit.xml"
_SUMMARY = "summary.md"
_VERDICTS = "verdicts.json"
QUICK_MIX_S = 8
"""The sustained mix of a quick pipeline, seconds."""
_STOP_S = 120.0
"""A step that is told to end still reads the truth and judges; under locust it also waits for the master."""
_ANNOTATIONS = {Verdict.FAIL: "error", Verdict.INVALID: "warning"}


@dataclass(frozen=True, slots=True)
class PipelineStep:
    """One command of the pipeline: ``arguments`` of the rig's own command line."""

    title: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepRun:
    """How a step ended. ``pack`` is None where it left none; ``interrupted``: Ctrl-C came during it."""

    step: PipelineStep
    exit_code: int
    pack: Pack | None
    interrupted: bool = False

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Its gates; none where it came to no verdict."""
        judgement = self.pack.judgement() if self.pack else None
        return judgement.gates if judgement else ()

    def file(self, name: str) -> Path | None:
        """This file of its pack; None where the step left none."""
        path = self.pack.path / name if self.pack else None
        return path if path is not None and path.is_file() else None

    @property
    def cut_off(self) -> str:
        """In words, how a step ended that left no documents; empty where it left some."""
        return "" if self.file(JUNIT) else f"ended with exit code {self.exit_code}, left no documents"

    @property
    def summary(self) -> str:
        """Its summary in Markdown, or how it ended without one."""
        path = self.file(_SUMMARY)
        return path.read_text(encoding="utf-8") if path else f"# {self.step.title}\n\n{self.cut_off}\n"


def steps_of(choice: ProfileChoice, seed: int, *, quick: bool, seconds: int, workers: int) -> tuple[PipelineStep, ...]:
    """The steps of the pipeline; ``quick`` does the least that reaches all gates.

    Where the profile names no storms and does not describe ``unknown-kid``, none is run. ConfigError where
    the profile cannot be read.
    """
    profile = choice.load()
    names = profile.scenarios.storms
    if names is None:
        names = (UNKNOWN_KID,) if profile.storms.unknown_kid is not None else ()
    common = ("--seed", str(seed), *choice.words())
    rungs = ("--steps", "50", "--trials", "1") if quick else ()
    cases = {UNKNOWN_KID: ("--case", "random-kids")} if quick else {}
    length = ("--seconds", str(min(seconds, QUICK_MIX_S) if quick else seconds))
    certified = ("--null-seconds", "1") if quick else ()
    storms = [PipelineStep(f"{name} storm", ("storm", name, *cases.get(name, ()), *common)) for name in names]
    return (
        PipelineStep("null gate, ladder, perf gate", ("run", *rungs, *common)),
        *storms,
        PipelineStep("sustained mix under locust", ("mix", *length, *certified, "--workers", str(workers), *common)),
    )


def run_ci(
    steps: Sequence[PipelineStep], out: Path, environ: Mapping[str, str], reporter: Reporter
) -> tuple[StepRun, ...]:
    """Run every step, whatever the verdicts of the others, and write the JUnit document.

    An interrupt ends the step that is running, which judges what it has. No further step begins.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be made: {error.strerror}; give --out a writable folder") from None
    done = []
    with Supervisor():
        for number, step in enumerate(steps, 1):
            reporter.stage(f"step {number} of {len(steps)}: {step.title}")
            done.append(_run(step, out))
            if done[-1].interrupted:
                break
    try:
        (out / JUNIT).write_bytes(_merge([path for each in done if (path := each.file(JUNIT))]))
    except OSError as error:
        raise ConfigError(f"{out / JUNIT} cannot be written: {error.strerror}") from None
    if environ.get("GITHUB_ACTIONS") == "true":
        _tell_github(done, environ)
    return tuple(done)


def exit_code_of(done: Sequence[StepRun]) -> int:
    """The worst exit code of the steps; 130 where one was interrupted."""
    if any(each.interrupted for each in done):
        return ExitCode.INTERRUPTED
    return worst_exit(each.exit_code for each in done)


def summary_of(done: Sequence[StepRun]) -> str:
    """The summaries of the steps, one after another."""
    return "\n\n".join(each.summary for each in done)


def _run(step: PipelineStep, out: Path) -> StepRun:
    """Run one step. Its pack is the one that is new in ``out``."""
    before = set(out.glob("*/manifest.json"))
    command = [*python_module("rig"), *step.arguments, "--out", str(out)]
    process = start(command, stdout=subprocess.DEVNULL)
    interrupted = False
    try:
        code = process.wait()
    except KeyboardInterrupt:
        interrupted, code = True, end(process, _STOP_S)
    made = sorted(set(out.glob("*/manifest.json")) - before)
    return StepRun(step, code, Pack.open(made[-1].parent) if made else None, interrupted)


def _merge(documents: Sequence[Path]) -> bytes:
    """One JUnit document of several; EvidenceError where one cannot be read."""
    whole = ET.Element("testsuites", {"name": "rig ci"})
    for path in documents:
        try:
            whole.extend(ET.parse(path).getroot())
        except (OSError, ET.ParseError) as error:
            raise EvidenceError(f"{path} cannot be read: {error}") from None
    ET.indent(whole)
    document: bytes = ET.tostring(whole, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _tell_github(done: Sequence[StepRun], environ: Mapping[str, str]) -> None:
    """Write the job's summary, and an annotation for every gate that is FAIL or INVALID."""
    if path := environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as file:
            for each in done:
                file.write(each.summary + "\n")
    for line in workflow_commands(done):
        sys.stderr.write(line + "\n")


def workflow_commands(done: Sequence[StepRun]) -> list[str]:
    """Workflow commands of GitHub: an error for a FAIL or a step that was cut off, a warning for an INVALID."""
    lines: list[str] = []
    for each in done:
        lines += [
            f"::{kind} title={_property(f'{each.step.title}: {gate.id}')}::{_message(gate)}"
            for gate in each.gates
            if (kind := _ANNOTATIONS.get(gate.verdict))
        ]
        if each.cut_off:
            lines.append(f"::error title={_property(each.step.title)}::{each.cut_off}")
    return lines


def _message(gate: Gate) -> str:
    return _escape(f"{gate.verdict}: {gate.reason or gate.rule}")


def _property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def document_of(done: Sequence[StepRun], out: Path) -> dict[str, Any]:
    """What ``--json`` prints: the verdicts of every step that came to some."""
    verdicts = [path for each in done if (path := each.file(_VERDICTS))]
    return {
        "exit_code": exit_code_of(done),
        "packs": [
            {"pack": str(out / path.parent.name), **json.loads(path.read_text(encoding="utf-8"))} for path in verdicts
        ],
        "junit": str(out / JUNIT),
    }
