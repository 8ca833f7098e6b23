"""The workflow for GitHub is valid, and its jobs only call the scripts beside it, which run on any machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "ci" / "github-actions.yml"
OWN_WORKFLOW = ROOT / "ci" / "your-service.yml"
FAKE_RIG = """#!/bin/sh
echo "$@" >> calls
[ "$1" = run ] || exit ${DOCTOR:-0}
mkdir -p "$3/pack" && touch "$3/pack/junit.xml" "$3/pack/pr.md"
exit ${VERDICT:-0}
"""
SCRIPTS = {"gates": "ci", "controls": "prove"}
"""The verb that each script runs."""
BESIDE_PYTHON = Path(sys.executable).with_name("actionlint")
ACTIONLINT = str(BESIDE_PYTHON) if BESIDE_PYTHON.exists() else shutil.which("actionlint")


def jobs() -> dict[str, str]:
    """The text of each job by its id."""
    _, _, text = WORKFLOW.read_text().partition("\njobs:\n")
    parts = re.split(r"^  ([a-z_-]+):\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.skipif(ACTIONLINT is None, reason="actionlint is not installed")
@pytest.mark.parametrize("workflow", [WORKFLOW, OWN_WORKFLOW])
def test_actionlint_finds_nothing(workflow: Path, tmp_path: Path) -> None:
    assert ACTIONLINT is not None
    ended = subprocess.run([ACTIONLINT, "-no-color", str(workflow)], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_gates_and_controls_are_two_jobs_and_a_failure_of_one_does_not_skip_the_other() -> None:
    assert set(jobs()) == set(SCRIPTS)
    for name, text in jobs().items():
        assert re.findall(r"run: (ci/\S+)", text) == [f"ci/{name}.sh"]
        assert "needs:" not in text
        assert "continue-on-error" not in text


def test_every_job_keeps_its_evidence_also_when_it_fails() -> None:
    for text in jobs().values():
        _, _, upload = text.partition("- name: Keep the evidence\n")
        assert upload.split("\n")[0].strip() == "if: always()"
        assert "actions/upload-artifact@" in upload
        assert "if-no-files-found: error" in upload


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_can_be_run_from_anywhere_and_end_with_the_verdict(script: str, tmp_path: Path) -> None:
    arguments = ("ladder", "--some option")
    fake = tmp_path / "rig"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\nexit 3\n')
    fake.chmod(0o755)
    ended = subprocess.run(
        [str(ROOT / "ci" / f"{script}.sh"), *arguments], cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "RIG": str(fake)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    where, verb, *rest = ended.stdout.splitlines()
    assert Path(where) == ROOT
    assert verb == SCRIPTS[script]
    assert rest[-2:] == list(arguments)


@pytest.mark.parametrize(
    ("environ", "code", "calls"),
    [
        ({}, 0, ["doctor", "run --out results/rig --seed 7"]),
        ({"VERDICT": "1"}, 1, ["doctor", "run --out results/rig --seed 7"]),
        ({"DOCTOR": "78"}, 78, ["doctor"]),
        (
            {"RIG_BASELINE": "old"},
            0,
            [
                "doctor",
                "run --out results/rig --trials 6 --seed 7",
                "compare --fail-on worse old results/rig/pack/",
            ],
        ),
    ],
)
def test_the_script_for_ones_own_service_ends_with_the_verdict_and_leaves_its_documents(
    environ: dict[str, str], code: int, calls: list[str], tmp_path: Path
) -> None:
    fake = tmp_path / "rig"
    fake.write_text(FAKE_RIG)
    fake.chmod(0o755)
    ended = subprocess.run(
        [str(ROOT / "ci" / "your-service.sh"), "--seed", "7"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "RIG": str(fake), **environ},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code, ended.stderr
    assert (tmp_path / "calls").read_text().splitlines() == calls
    if "run" in calls[-1]:
        assert (tmp_path / "results" / "rig" / "pr.md").exists()
        assert (tmp_path / "results" / "rig" / "junit.xml").exists()
