"""The one list of options: what it declares is on both command lines, and a pack's manifest gives it back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rig.cli.main import cli
from rig.errors import UsageError
from rig.settings import OPTIONS, Settings

CHOSEN = Settings(
    seed=7, out=Path("elsewhere"), floor_rps=500, defects=("slow", "blind"), allow_host="far", samplers=False
)


def test_every_setting_but_the_number_of_trials_is_an_option_of_a_run() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert set(OPTIONS) == fields - {"null_trials"}
    assert {parameter.name for parameter in cli.commands["run"].params} >= set(OPTIONS)


def test_what_a_manifest_holds_is_read_back() -> None:
    assert Settings.from_document(CHOSEN.document()) == CHOSEN


def test_the_words_of_another_command_line_ask_for_the_same() -> None:
    words = CHOSEN.words("seed", "allow_host", "defects", prefix="rig-")
    assert words == [
        "--rig-seed",
        "7",
        "--rig-allow-host",
        "far",
        "--rig-defect",
        "slow",
        "--rig-defect",
        "blind",
    ]
    assert Settings().words("allow_host", "defects") == []


def test_a_wrong_value_names_its_option_and_what_to_give() -> None:
    with pytest.raises(UsageError, match=r"--workers 65: give a number from 1 to 64"):
        Settings(workers=65)
    with pytest.raises(UsageError, match=r"--max-rate nan: give a number above 0 to 50000"):
        Settings(max_rate_per_s=float("nan"))
