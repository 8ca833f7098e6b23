"""From a file to a validated profile, or to an error that names file, key and remedy."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rig.errors import ConfigError
from rig.machine.files import open_file
from rig.profile.whole import Profile
from rig.text import counted

_PROBLEMS_NAMED = 10
_KEY_SHOWN = 80
_MESSAGE_SHOWN = 1000
_LARGEST_BYTES = 1 << 20
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_TOO_DEEP = re.compile(rf"(?:^|[\[{{,])[ \t]*+(?:{_PART}){{32}}", re.MULTILINE)
"""A key of so many parts that the reader of TOML, whose time grows with their square, would not come to its end."""
_SCALARS = frozenset({"str", "int", "float", "bool"})
_TYPES = (
    ("string_type", "must be one text, in quotes"),
    ("tuple_type", "must be a list: put it in brackets, [ … ]"),
    ("list_type", "must be a list: put it in brackets, [ … ]"),
    ("model_type", "must be a table, { … } or a section of its own"),
    ("dict_type", "must be a table, { … } or a section of its own"),
    ("invalid-json-value", "must be a text, a number, true, false, a list or a table"),
    ("finite_number", "must be a number, neither inf nor nan"),
)
"""How the names of pydantic's errors end, and what it means for who writes TOML."""
_BYTE_ORDER_MARK = "\ufeff"
"""Some editors write it first."""
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
    except OSError as error:
        raise ConfigError(f"profile {path} cannot be read: {error}") from None
    if len(data) > _LARGEST_BYTES:
        raise ConfigError(f"profile {path} is larger than {_LARGEST_BYTES >> 20} MiB; give --profile a TOML file")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"profile {path} cannot be read: {error}; save it as UTF-8") from None
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
    return tomllib.loads(text.removeprefix(_BYTE_ORDER_MARK))


def profile_of_storms(storms: Mapping[str, Any], path: Path) -> Profile:
    """A profile that has nothing but storms; ``path`` is the file that they come from."""
    return _validate({**_NO_WEBHOOK, "storms": storms}, path).at(path.resolve().parent)


def _validate(raw: Mapping[str, Any], path: Path) -> Profile:
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        lines = [f"profile {path} is wrong:"]
        problems = describe_problems(error)
        lines += (f"  {problem}" for problem in problems[:_PROBLEMS_NAMED])
        if len(problems) > _PROBLEMS_NAMED:
            lines.append(f"  … and {len(problems) - _PROBLEMS_NAMED} more")
        raise ConfigError("\n".join(lines)) from None


def describe_problems(error: ValidationError, document: str = "docs/profile.md") -> list[str]:
    """Each key that is wrong, with what to do about it; ``document`` lists all keys."""
    problems = error.errors()
    places = {problem["loc"] for problem in problems}
    # A list with a wrong item lacks that item, and a value that may be of several types is none of them.
    within = {place[:at] for place in places for at in range(len(place))}
    several = {place[:-1] for place in places if place and place[-1] in _SCALARS}
    words = {}
    for problem in problems:
        place = problem["loc"]
        if place[:-1] in several:
            words[place[:-1]] = "must be a text, a number, or true or false"
        elif not (problem["type"] == "too_short" and place in within):
            words[place] = _remedy(problem, document)
    return [f"{'.'.join(map(_printable, place)) or '(whole file)'}: {said}" for place, said in words.items()]


def _printable(part: int | str) -> str:
    """A key for the terminal: one that somebody else wrote may hold control characters, and be long."""
    text = str(part)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _KEY_SHOWN else text[:_KEY_SHOWN] + "…"


def _remedy(problem: ErrorDetails, document: str) -> str:
    kind, message = problem["type"], problem["msg"]
    match kind:
        case "extra_forbidden":
            return f"unknown key; remove it or mend its spelling ({document} lists all keys)"
        case "missing":
            return "required, but missing"
        case "tuple_type" | "list_type" if isinstance(problem["input"], dict):
            return f"there may be several: write [[{'.'.join(map(_printable, problem['loc']))}]] above each of them"
        case "model_type" | "dict_type" if isinstance(problem["input"], list):
            return f"there is only one: write [{'.'.join(map(_printable, problem['loc']))}] in single brackets"
        case "too_short":
            least = problem["ctx"]["min_length"]
            return f"must have at least {counted(least, 'item')}"
    message = re.sub(r"^Value error, ", "", message).replace("Input should be", "must be")
    message = message if len(message) <= _MESSAGE_SHOWN else message[:_MESSAGE_SHOWN] + "…"
    return next((words for ending, words in _TYPES if kind.endswith(ending)), message)
