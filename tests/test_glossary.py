"""The glossary's words are those of command line, profile and pack, and old names that it lists still work."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

import rig.evidence
from rig.cli.main import cli
from rig.evidence import schema
from rig.profile.fields import Section
from rig.report.frames import FIGURES

GLOSSARY = (Path(__file__).parents[1] / "docs" / "glossary.md").read_text()
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def rows_of(title: str) -> list[list[str]]:
    """The cells of each line of the table under a heading."""
    section = GLOSSARY.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return lines[1:]


def aliases(where: str) -> dict[str, str]:
    """Today's name of each old one that the glossary lists for a place."""
    found: dict[str, str] = {}
    for place, old, new in rows_of("Was called"):
        if place.startswith(where):
            found |= zip(re.findall(r"`([^`]+)`", old), re.findall(r"`([^`]+)`", new), strict=True)
    return found


GONE = set(re.findall(r"`([^`]+)`", GLOSSARY.split("\n## Words that are gone\n")[1]))


def old_words(names: set[str]) -> list[str]:
    """Those of the names that contain a word which is gone."""
    return sorted(name for name in names if GONE & set(re.split(r"[-_.]", name.lower())))


def options() -> Iterator[click.Option]:
    """Every option of every verb."""
    for command in cli.commands.values():
        yield from (parameter for parameter in command.params if isinstance(parameter, click.Option))


def flags() -> set[str]:
    """Every flag that the command line takes, in help or not."""
    return {flag for option in options() for flag in (*option.opts, *option.secondary_opts) if flag.startswith("--")}


def flags_in_help() -> set[str]:
    """Every flag that the help texts name."""
    texts = (command.get_help(click.Context(command)) for command in cli.commands.values())
    return {flag for text in texts for flag in FLAG.findall(text)}


def sections(base: type[Section] = Section) -> Iterator[type[Section]]:
    """Every table of a profile."""
    for section in base.__subclasses__():
        if section.__module__.startswith("rig."):
            yield section
            yield from sections(section)


def profile_keys() -> set[str]:
    """Every key of a profile, storms and routes included."""
    return {info.alias or name for section in sections() for name, info in section.model_fields.items()}


def pack_keys() -> set[str]:
    """Every field of a value in a pack, and every column of a table in one."""
    keys = set(FIGURES)
    for module in pkgutil.walk_packages(rig.evidence.__path__, "rig.evidence."):
        if module.name == schema.__name__:
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if dataclasses.is_dataclass(value):
                keys |= {field.name for field in dataclasses.fields(value)}
            elif isinstance(value, np.dtype):
                keys |= set(value.names or ())
            elif name.endswith("COLUMNS"):
                keys |= set(value)
                keys |= {column for table in value if isinstance(value, Mapping) for column in value[table]}
    return keys


def translated(table: Any) -> dict[str, str]:
    """Every pair of names in a table of renamings, however deep it is nested."""
    if not isinstance(table, Mapping):
        return {}
    flat = {old: new for old, new in table.items() if isinstance(new, str)}
    return flat | {old: new for inner in table.values() for old, new in translated(inner).items()}


def test_no_flag_contains_a_word_that_is_gone() -> None:
    assert len(flags_in_help()) > 80
    assert old_words(flags_in_help()) == []


def test_no_key_of_a_profile_contains_a_word_that_is_gone() -> None:
    assert len(profile_keys()) > 100
    assert old_words(profile_keys() - {"unknown-kid"}) == []


def test_no_key_of_a_pack_contains_a_word_that_is_gone() -> None:
    assert len(pack_keys()) > 200
    assert old_words(pack_keys()) == []


def test_every_flag_of_the_last_release_that_the_glossary_lists_still_works() -> None:
    listed = aliases("command line")
    assert set(listed) <= flags()
    assert not set(listed) & flags_in_help(), "an old name is not in help"
    for option in options():
        names = {*option.opts, *option.secondary_opts}
        for old in names & set(listed):
            assert listed[old] in names, f"{old} is not an alias of {listed[old]}"


def test_the_glossary_lists_the_old_names_of_profile_keys() -> None:
    accepted = {old: new for section in sections() for old, new in section.old_names().items()}
    assert aliases("profile") == accepted


def test_every_name_that_an_old_pack_may_hold_is_in_the_glossary() -> None:
    tables = [value for name, value in vars(schema).items() if name.isupper() and isinstance(value, Mapping)]
    known = translated(dict(enumerate(tables)))
    assert known
    assert known.items() <= aliases("pack").items()
