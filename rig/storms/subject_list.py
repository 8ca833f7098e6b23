"""The list of a scoreboard: subjects of one storm, each with an environment of its own, from a TOML file.

Flow: ``read_list`` validates the file; ``open_subject`` makes the environment of a subject, beside the file and once,
and gives what the storm is to be run with. Nothing is judged here.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from rig.errors import ConfigError, UsageError
from rig.machine.files import documents_folder, open_file
from rig.profile import Profile
from rig.profile.fields import Section, Text
from rig.profile.load import describe_problems, profile_of_storms, read_toml
from rig.storms.last_words import error_line, last_lines_of

_PUBLISHED = {
    "unknown-kid": "verifiers",
    "migration-race": "migrators",
    "scheduler-claim": "queues",
    "rate-limit": "limiters",
}
_FOLDER = ".environments"
_INSTALL_TIMEOUT_S = 600


class ListedSubject(Section):
    """One subject of a scoreboard."""

    name: Text
    pip: tuple[Text, ...] = ()
    """Requirements that are installed into a virtual environment of its own; the first is the subject's."""
    npm: tuple[Text, ...] = ()
    """The same for packages of Node."""
    version: Text | None = None
    """Shown instead of the version of the first package."""
    note: str = ""
    """What it does, in a line."""
    processes: Annotated[int, Field(ge=1, le=64)] | None = None
    cases: tuple[Text, ...] = ()
    """Cases of ``unknown-kid``; none: all."""
    section: Mapping[str, Any] = Field(default_factory=dict)
    """As ``[storms.NAME]`` of a profile. ``{env}`` is the folder of the environment, ``{python}`` its Python."""


class SubjectList(Section):
    """A scoreboard's list. ``section`` holds for every subject that says nothing else."""

    title: Text
    key_ids: Annotated[int, Field(ge=1)] = 20
    processes: Annotated[int, Field(ge=1, le=64)] = 4
    cases: tuple[Text, ...] = ()
    section: Mapping[str, Any] = Field(default_factory=dict)
    subjects: Annotated[tuple[ListedSubject, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class OpenSubject:
    """A subject that can be tested; ``problem`` says why it cannot. ``libraries`` is the folder of its packages."""

    label: str
    version: str = ""
    libraries: str = ""
    profile: Profile | None = None
    problem: str = ""


def published_list(storm: str) -> Path:
    """The list of the scoreboard that is published for a storm; UsageError where there is none."""
    if storm not in _PUBLISHED:
        raise UsageError(f"--scoreboard: no list is published for {storm}; name a file of your own")
    folder = documents_folder()
    path = folder / "scoreboards" / f"{_PUBLISHED[storm]}.toml" if folder else None
    if path is None or not path.exists():
        raise UsageError("--scoreboard: this installation has no documents; name a file")
    return path


def read_list(path: Path) -> SubjectList:
    """Read and validate a list; ConfigError names file and key."""
    try:
        with open_file(path) as file:
            return SubjectList.model_validate(read_toml(file.read().decode()))
    except (OSError, ValueError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            raise ConfigError(f"scoreboard {path} cannot be read: {error}") from None
        wrong = "; ".join(describe_problems(error, "docs/scoreboards/README.md")[:5])
        raise ConfigError(f"scoreboard {path} is wrong: {wrong}") from None


def open_subject(listed: SubjectList, subject: ListedSubject, storm: str, path: Path) -> OpenSubject:
    """Make the environment of a subject if it is not there, and the profile that the storm is run with.

    ConfigError where its section is wrong.
    """
    label = re.sub(r"[^a-z0-9.]+", "-", subject.name.lower()).strip("-")
    folder = (path.parent / _FOLDER / label).resolve()
    problem = _install(subject, folder)
    if problem:
        return OpenSubject(label, problem=problem)
    packages = next(iter(folder.glob("lib/python*/site-packages")), None)
    python = str(folder / "bin" / "python") if subject.pip else sys.executable
    section = _fill({**listed.section, **subject.section}, {"{env}": str(folder), "{python}": python})
    profile = profile_of_storms({storm: section}, path)
    return OpenSubject(label, _version(subject, folder, packages), str(packages or ""), profile)


def _install(subject: ListedSubject, folder: Path) -> str:
    """Install what is not installed yet; what went wrong, empty where nothing did."""
    wanted = {"pip": list(subject.pip), "npm": list(subject.npm)}
    mark = folder / "installed.json"
    with suppress(OSError, ValueError):  # ValueError: it was cut off, so nobody knows what is there
        if json.loads(mark.read_text()) == wanted:
            return ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"it could not be installed: {error}; copy the list and its subjects to a folder of yours"
    commands: list[Sequence[str]] = []
    if subject.pip:
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        commands += [(sys.executable, "-m", "venv", str(folder)), (*pip, *subject.pip)]
    if subject.npm:
        commands += [("npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), *subject.npm)]
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"it could not be installed: {error}"
        if done.returncode:
            return f"it could not be installed: {error_line(last_lines_of(done.stdout, done.stderr))}"
    mark.write_text(json.dumps(wanted))
    return ""


def _fill(value: Any, words: Mapping[str, str]) -> Any:
    """A value of TOML with the words replaced in all its texts."""
    if isinstance(value, str):
        for word, meaning in words.items():
            value = value.replace(word, meaning)
        return value
    if isinstance(value, Mapping):
        return {key: _fill(part, words) for key, part in value.items()}
    return [_fill(part, words) for part in value] if isinstance(value, list) else value


def _version(subject: ListedSubject, folder: Path, packages: Path | None) -> str:
    """The version of the first package that was asked for; empty where none was, or it does not say."""
    if subject.version is not None:
        return subject.version
    if subject.pip and packages:
        name = re.split(r"[\[<>=~! ]", subject.pip[0])[0]
        return next((one.version for one in importlib.metadata.distributions(name=name, path=[str(packages)])), "")
    if subject.npm:
        name = re.sub(r"(?<=.)@[^/]*$", "", subject.npm[0])
        with suppress(OSError, ValueError, KeyError):  # of an address, like git+https:…, the name is another
            return str(json.loads((folder / "node_modules" / name / "package.json").read_text())["version"])
    return ""
