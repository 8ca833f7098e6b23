"""What a run says of the rig that made it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rig.calibrate.fingerprint import _commit, fingerprint


def git(folder: Path, *words: str) -> str:
    """What git says, under a name of its own."""
    known = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *known, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_rigs_own_repository(tmp_path: Path) -> None:
    nowhere = {"commit": None, "commit_dirty": None}
    file = tmp_path / ".venv" / "rig" / "fingerprint.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    assert _commit(file) == nowhere
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "a service, with a rig installed below it")
    assert _commit(file) == nowhere
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "the rig itself")
    assert _commit(file) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "commit_dirty": False}
    file.write_text("# changed")
    assert _commit(file)["commit_dirty"] is True


@pytest.mark.parametrize(
    ("environ", "named", "found"),
    [
        ({}, None, None),
        ({}, "of-the-profile", "of-the-profile"),
        ({"RIG_TARGET_COMMIT": "of-this-run"}, "of-the-profile", "of-this-run"),
        ({"RIG_TARGET_COMMIT": ""}, "of-the-profile", "of-the-profile"),
        ({"RIG_TARGET_COMMIT": "of-this-run"}, None, "of-this-run"),
    ],
)
def test_the_commit_of_the_target(environ: dict[str, str], named: str | None, found: str | None) -> None:
    assert fingerprint(environ, named)["target_commit"] == found
