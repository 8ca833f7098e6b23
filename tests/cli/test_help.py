"""The help of every verb: whole lines in a terminal of 80 columns, every option with a sentence, no old names."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from rig.checks.race_tests.catalog import OLD_PROTECTIONS
from rig.cli.main import cli
from rig.errors import UsageError
from rig.storms.environment import StormOptions
from rig.verbs import storm as storm_module

COLUMNS = 80
VERBS: list[list[str]] = [[], *([name] for name in cli.commands)]


def help_of(words: list[str]) -> str:
    """What ``--help`` prints in a terminal of so many columns."""
    return CliRunner(env={"COLUMNS": str(COLUMNS)}).invoke(cli, [*words, "--help"], prog_name="rig").output


@pytest.mark.parametrize("words", VERBS, ids=lambda words: " ".join(words) or "rig")
def test_no_line_is_cut_or_longer_than_the_terminal(words: list[str]) -> None:
    lines = help_of(words).splitlines()
    assert lines[0].startswith("Usage: rig")
    assert [line for line in lines if len(line) > COLUMNS or "..." in line or "…" in line] == []


@pytest.mark.parametrize("words", VERBS, ids=lambda words: " ".join(words) or "rig")
def test_every_option_and_every_verb_is_explained_in_whole_sentences(words: list[str]) -> None:
    command = cli.commands[words[0]] if words else cli
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    texts = {option.name: option.help or "" for option in options} | {"the verb": command.help or ""}
    assert {name: text for name, text in texts.items() if not text.strip().endswith(".")} == {}
    assert {name: text for name, text in texts.items() if not text[:1].isupper()} == {}


def test_the_list_of_verbs_shows_their_summaries_whole() -> None:
    shown = " ".join(help_of([]).split())
    for name, command in cli.commands.items():
        assert command.short_help
        assert f"{name} {command.short_help}" in shown


@pytest.mark.parametrize(("verb", "old"), [("run", "--no-ruler"), ("perf", "--ruler"), ("storm", "--kids")])
def test_an_old_name_is_taken_and_not_shown(verb: str, old: str) -> None:
    options = [parameter for parameter in cli.commands[verb].params if isinstance(parameter, click.Option)]
    assert any(old in (*option.opts, *option.secondary_opts) for option in options)
    assert old not in help_of([verb])


@pytest.mark.parametrize(("old", "new"), OLD_PROTECTIONS.items())
def test_an_old_name_of_a_protection_means_todays(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def keep(_: object, storm: str, options: StormOptions, *more: object) -> None:
        asked.append(options.without)
        raise UsageError("enough")

    monkeypatch.setattr(storm_module, "storm", keep)
    CliRunner().invoke(cli, ["storm", "unknown-kid", "--without", old, "--without", new])
    assert asked == [(new, new)]
