"""From a file to a validated profile, or to an error that names file, key and remedy."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rig.errors import ConfigError
from rig.machine.files import open_file
from rig.profile.whole import Profile

_PROBLEMS_NAMED = 10
_KEY_SHOWN = 80
_LARGEST_BYTES = 1 << 20
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_TOO_DEEP = re.compile(rf"(?:^|[\[{{,])[ \t]*+(?:{_PART}){{32}}", re.MULTILINE)
"""A key of so many parts that the reader of TOML, whose time grows with their square, would not come to its end."""
_STORMS_ONLY = {"version", "name", "storms"}
_NO_WEBHOOK: Mapping[str, Any] = {
    "version": 1,
    "name": "storms",
    "target": {"base_url": "http://127.0.0.1:9"},
    "routes": [{"name": "none", "path": "/", "scheme": "none", "body": '{"id": "<key>"}'}],
    "truth": {"canonical": {"table": "none", "key": "none"}},
}
"""What a profile lacks that says nothing but what the storms are run against."""


def bundled_profile(name: str = "reference") -> Path:
    """Path of a profile that comes with the rig."""
    return Path(__file__).parents[2] / "scenarios" / "profiles" / f"{name}.toml"


def load_profile(path: Path, *, storms_suffice: bool = False) -> Profile:
    """Read and validate a profile; ConfigError names file, key and remedy.

    ``storms_suffice``: it may have nothing but ``[storms]``.
    """
    try:
        with open_file(path) as file:
            data = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"profile {path} does not exist; give --profile the path of a TOML file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(f"profile {path} cannot be read: {error}") from None
    if len(data) > _LARGEST_BYTES:
        raise ConfigError(f"profile {path} is larger than {_LARGEST_BYTES >> 20} MiB; give --profile a TOML file")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"profile {path} cannot be read: {error}") from None
    return parse_profile(text, path, storms_suffice=storms_suffice).at(path.resolve().parent)


def parse_profile(text: str, path: Path, *, storms_suffice: bool = False) -> Profile:
    """Validate the text of a profile; ``path`` is what errors call it."""
    try:
        raw = read_toml(text)
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        raise ConfigError(f"profile {path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"profile {path} is nested too deeply; no key of a profile lies ten levels deep") from None
    if storms_suffice and "storms" in raw and raw.keys() <= _STORMS_ONLY:
        raw = {**_NO_WEBHOOK, **raw}
    return _validate(raw, path)


def read_toml(text: str) -> dict[str, Any]:
    """The document; ValueError where it is none, RecursionError where it is nested too deeply to be read."""
    if _TOO_DEEP.search(text):
        raise RecursionError
    return tomllib.loads(text)


def profile_of_storms(storms: Mapping[str, Any], path: Path) -> Profile:
    """A profile that has nothing but storms; ``path`` is the file that they come from."""
    return _validate({**_NO_WEBHOOK, "storms": storms}, path).at(path.resolve().parent)


def _validate(raw: Mapping[str, Any], path: Path) -> Profile:
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        lines = [f"profile {path} is wrong:"]
        problems = error.errors()
        for problem in problems[:_PROBLEMS_NAMED]:
            where = ".".join(_printable(part) for part in problem["loc"]) or "(whole file)"
            lines.append(f"  {where}: {_remedy(problem['type'], problem['msg'])}")
        if len(problems) > _PROBLEMS_NAMED:
            lines.append(f"  … and {len(problems) - _PROBLEMS_NAMED} more")
        raise ConfigError("\n".join(lines)) from None


def _printable(part: int | str) -> str:
    """A key for the terminal: one that somebody else wrote may hold control characters, and be long."""
    text = str(part)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _KEY_SHOWN else text[:_KEY_SHOWN] + "…"


def _remedy(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "unknown key; remove it or mend its spelling (docs/profile.md lists all keys)"
    if kind == "missing":
        return "required, but missing"
    return re.sub(r"^Value error, ", "", message)
