"""The documents against the program: every command exists with its options, every link and path leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rig.cli.main import cli

ROOT = Path(__file__).parents[1]
WRITTEN = [page for page in (ROOT / "docs").rglob("*.md") if not re.search(r"/\.", page.relative_to(ROOT).as_posix())]
"""Our own. In hidden folders lies what scoreboards have installed."""
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "results" / "README.md", *WRITTEN]
TREES = "rig|docs|tests|scenarios|stub_server|fleet_jwks|ci|results"
COMMAND = re.compile(r"(?<![\w./-])rig ([a-z]+)([^|;&#)\n]*)")
PATH = re.compile(rf"(?<![\w/.<{{$-])(?:{TREES})/[\w./-]*\w\.(?:py|toml|md|j2|sh|csv|parquet)\b")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)]*))?\)")


def code_of(page: Path) -> Iterator[str]:
    """What a page shows as code: its blocks, and the spans within its text."""
    text = page.read_text()
    yield from re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", text)


def headings_of(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def options_of(verb: click.Command) -> set[str]:
    """Every option of a verb, old names too."""
    return {name for each in verb.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    wrong: list[str] = []
    for code in code_of(page):
        for verb, words in COMMAND.findall(code.replace("\\\n", " ")):
            known = options_of(cli.commands[verb]) if verb in cli.commands else set()
            given = re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", words)
            wrong += [f"rig {verb} {option}" for option in given if option not in known]
            wrong += [] if known else [f"rig {verb}"]
        wrong += [path for path in PATH.findall(code) if not path.startswith("results/") and not (ROOT / path).exists()]
    for path, anchor in LINK.findall(page.read_text()):
        if not path.startswith("http"):
            target = page.parent / path if path else page
            found = target.exists() and (not anchor or anchor in headings_of(target))
            wrong += [] if found else [f"{path}#{anchor}"]
    assert wrong == []
