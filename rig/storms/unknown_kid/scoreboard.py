"""The contestants of the scoreboard: releases of libraries that verify tokens, and the reference.

pip installs each release into a temporary folder of its own, which the members of the fleet put first on their path. So
several releases of one library can be compared, and the rig's environment stays as it is. Their dependencies
(cryptography, joserfc) are the rig's. Where pip or its index cannot be reached, a contestant is NOT-RUN by name.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rig.storms.unknown_kid.subjects import AUTHLIB, PYJWT, REFERENCE_SUBJECT, Subject
from rig.text import last_lines

CASES = ("random-kids", "failing-cached", "rotation-inside")
KEY_IDS = 20
"""Unknown key ids for each process: a library that fetches for each of them takes seconds, not minutes."""
PROCESSES = 8
_PIP_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Contestant:
    """A subject, and why it cannot be tested: empty where it can."""

    subject: Subject
    not_run: str = ""


@dataclass(frozen=True, slots=True)
class _Release:
    """``requirement`` is pip's; ``note`` says what the library does, as its source has it."""

    subject: Subject
    name: str
    requirement: str
    note: str


_RELEASES = (
    _Release(
        PYJWT, "pyjwt-2.13.0", "PyJWT==2.13.0", "fetches for every token with an unknown key id, in every process"
    ),
    _Release(
        PYJWT,
        "pyjwt-newest",
        "PyJWT>2.13.0",
        "a cool-down per process, none after a failed fetch; known keys wait while it fetches",
    ),
    _Release(AUTHLIB, "authlib", "Authlib", "fetches for every token with an unknown key id; otherwise never again"),
)
_REFERENCE_NOTE = "one row and one lock for the fleet: cool-down, backoff, stale keys used meanwhile"


def contestants(folder: Path) -> Iterator[Contestant]:
    """All contestants, each installed below ``folder`` when it is its turn."""
    for release in _RELEASES:
        path = folder / release.name
        problem = _install(release.requirement, path)
        name = release.name if problem else _name_with_version(release, path)
        yield Contestant(replace(release.subject, name=name, path=str(path), note=release.note), problem)
    yield Contestant(replace(REFERENCE_SUBJECT, note=_REFERENCE_NOTE))


def _name_with_version(release: _Release, path: Path) -> str:
    (found,) = importlib.metadata.distributions(path=[str(path)])
    return f"{release.subject.name}-{found.version}"


def _install(requirement: str, folder: Path) -> str:
    """Install without dependencies; what went wrong, empty where nothing did."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    try:
        done = subprocess.run(
            [*command, "--target", str(folder), requirement], capture_output=True, text=True, timeout=_PIP_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{requirement} could not be installed: {error}"
    return f"{requirement} could not be installed: {last_lines(done.stderr)[:200]}" if done.returncode else ""
