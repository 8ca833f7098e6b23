"""``[scenarios]`` of a profile: it says what a command need not repeat, and the command line overrides it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rig.cli.main import main
from rig.errors import ConfigError, ExitCode
from rig.locust_bridge.launch import LocustCommand
from rig.model import FORGED, Arrivals
from rig.profile import Profile, bundled_profile, load_profile
from rig.profile.discovery import Origin, ProfileChoice
from rig.run.job import Job
from rig.verbs.ci import steps_of

SECTION = """
[scenarios]
steps = [7, 9]
only = ["S2", "S3", "S8"]
tenants = 1
spread = 4
storms = ["rate-limit"]

[scenarios.s8]
requests = 500
limit_s = 4
trials = 2

[scenarios.sustained]
rate_per_s = 40
seconds = 2
p95_ms = 90
arrivals = "poisson"

[scenarios.mix]
users = 6
seconds = 3

[scenarios.mix.weights]
S2 = 9
S3 = 0
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(tmp_path)


def write(folder: Path, section: str = SECTION) -> Path:
    path = folder / "rig.toml"
    path.write_text(bundled_profile().read_text() + section)
    return path


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    found: list[Job] = []

    def keep(job: Job, *_: object) -> None:
        found.append(job)
        raise ConfigError("enough")

    monkeypatch.setattr("rig.verbs.run.run", keep)
    return found


def sent(jobs: list[Job], *words: str) -> list[str]:
    """What a command would send on the main route: id, step and number of tenants of each scenario run."""
    main(words)
    runs = [each for each in jobs[-1].scenarios if each.route == MAIN and each.id != FORGED]
    return [f"{each.id} {each.step} {len(each.tenants)}" for each in runs]


MAIN = load_profile(bundled_profile()).routes[0].name
SPREAD = ["S2 9 4"]
LADDER = ["S3 7 1", "S2 7 1", "S3 9 1", "S2 9 1", *SPREAD]
PERF = ["warm-up 100 1", "S8 500 1", "S8 500 1"]
SUSTAINED = ["sustained 80 1"]


def test_a_verb_without_options_sends_what_the_profile_says(jobs: list[Job]) -> None:
    assert sent(jobs, "run") == [*LADDER, *PERF, *SUSTAINED]
    assert not jobs[-1].wants_storms
    assert sent(jobs, "ladder") == LADDER
    assert sent(jobs, "perf") == [*PERF, *SUSTAINED]
    load = jobs[-1].scenarios[-1]
    assert (load.pace.rate_per_s, load.pace.arrivals, load.p95_limit_ms) == (40, Arrivals.POISSON, 90)
    assert {each.limit_s for each in jobs[-1].scenarios if each.id == "S8"} == {4}


def test_the_command_line_overrides_each_key(jobs: list[Job]) -> None:
    assert sent(jobs, "ladder", "--steps", "5", "--only", "S1", "--spread", "0") == ["S1 5 1"]
    assert sent(jobs, "run", "--only", "S2", "--spread", "3") == ["S2 7 1", "S2 9 1", "S2 9 3"]
    assert sent(jobs, "perf", "-n", "50", "--trials", "1") == ["warm-up 100 1", "S8 50 1", *SUSTAINED]
    assert sent(jobs, "perf", "--rate", "10", "--p95", "70") == ["warm-up 100 1", "sustained 20 1"]
    load = jobs[-1].scenarios[-1]
    assert (load.pace.rate_per_s, load.pace.arrivals, load.p95_limit_ms) == (10, Arrivals.POISSON, 70)


def test_an_option_that_is_given_with_its_default_overrides_as_well(jobs: list[Job]) -> None:
    assert sent(jobs, "ladder", "--only", "S1", "--steps", "50,250,1000", "--spread", "20")[-1] == "S1 1000 20"


def test_a_profile_without_the_section_means_what_it_did(folder: Path, jobs: list[Job]) -> None:
    write(folder.parent, "")
    plain = sent(jobs, "run")
    assert plain[0] == "S1 50 1"
    assert plain[-6:] == ["warm-up 100 1", *["S8 10000 1"] * 3, "S10 300 1", "S11 1650 1"]
    assert not any(each.startswith("S11") for each in sent(jobs, "run", "--no-chaos"))
    whole = sum(each.count for each in jobs[-1].scenarios)
    assert sent(jobs, "run", "--max-requests", str(whole + 100))[-1] == "S10 300 1"
    assert "S11" in jobs[-1].left_out
    assert sent(jobs, "run", "--max-requests", str(whole - 1), "--no-chaos")[-1] == "S8 10000 1"
    assert "S10" in jobs[-1].left_out
    assert jobs[-1].wants_storms


def test_the_ceiling_of_the_profile_still_holds(
    folder: Path, jobs: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    text = folder.read_text() + "[target]\nmax_requests = 100\n"
    folder.write_text(text)
    assert main(["perf"]) == ExitCode.USAGE
    assert "the profile's target.max_requests" in capsys.readouterr().err
    assert jobs == []


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("[scenarios]\nonly = ['S77']", "scenarios.only.0: 'S77' is not a scenario; known are S1 to S10"),
        ("[scenarios]\nonly = ['S8']", "profile key scenarios.only: none of it belongs to this verb"),
        ("[scenarios]\nonly = ['S9']\n", "profile key scenarios.only: S9: the profile"),
        ("[scenarios]\nonly = ['s1']", "scenarios.only.0: 's1' is not a scenario"),
        ("[scenarios]\nsteps = [5, 5]", "scenarios.steps: one of them comes twice"),
        ("[scenarios]\nsteps = [0]", "scenarios.steps.0: "),
        ("[scenarios]\nspread = 2", "scenarios.spread: give 0, or at least 3"),
        ("[scenarios]\nstorms = ['x']", "scenarios.storms: 'x' is no storm"),
        ("[scenarios.s8]\ntrials = 21", "scenarios.s8.trials: "),
        ("[scenarios.sustained]\nrate_per_s = nan", "scenarios.sustained.rate_per_s: "),
        ("[scenarios.mix]\nweights = {S2 = -1}", "scenarios.mix.weights.S2: "),
        ("[scenarios]\nstep = [5]", "scenarios.step: unknown key"),
    ],
)
def test_an_error_names_the_key(
    folder: Path, section: str, said: str, jobs: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder.parent, f"\n{section}\n")
    if "S9" in section:
        folder.write_text("\n".join(without_channels(folder.read_text())))
    assert main(["ladder"]) == ExitCode.CONFIG
    assert said in capsys.readouterr().err
    assert jobs == []


def without_channels(text: str) -> list[str]:
    """The lines of a profile without its ``[[channels]]``."""
    kept, inside = [], False
    for line in text.splitlines():
        inside = line == "[[channels]]" or (inside and not line.startswith("["))
        kept += [] if inside else [line]
    return kept


def locust_words(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    asked: list[Any] = []

    def keep(command: LocustCommand) -> int:
        asked.extend(command.arguments)
        return 0

    monkeypatch.setattr("rig.locust_bridge.launch.lead", keep)
    monkeypatch.setattr("rig.target.launch.require_free_port", lambda _: None)
    assert main(words) == 0
    return asked


def test_the_mix_has_the_weights_users_and_seconds_of_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    for verb in ("mix", "ui"):
        words = locust_words(monkeypatch, verb)
        assert words[:6] == ["S1Replay", "S2Unique", "S4Personal", "S6Mixed", "S7InvalidJson", "--config-users"]
        assert json.loads(words[7]) == {"user_class_name": "S2Unique", "weight": 9}
        assert words[11:17] == ["-u", "6", "-r", "6", "-t", "3s"]
    assert locust_words(monkeypatch, "mix", "--users", "50")[11:17] == ["-u", "50", "-r", "50", "-t", "3s"]


def test_a_mix_that_sends_nothing_or_something_unknown_is_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder.parent, "[scenarios.mix.weights]\n" + "\n".join(f"S{number} = 0" for number in (1, 2, 3, 4, 6, 7)))
    assert main(["mix"]) == ExitCode.CONFIG
    assert "profile key scenarios.mix.weights: all are 0" in capsys.readouterr().err
    write(folder.parent, "[scenarios.mix.weights]\nS5 = 1")
    assert main(["mix"]) == ExitCode.CONFIG
    assert "profile key scenarios.mix.weights: S5 is not in the mix" in capsys.readouterr().err


def test_the_pipeline_runs_the_storms_of_the_profile(folder: Path) -> None:
    steps = steps_of(ProfileChoice(folder, Origin.OPTION), 1, quick=False, seconds=3, workers=1)
    assert [step.title for step in steps[1:-1]] == ["rate-limit storm"]
    write(folder.parent, "[scenarios]\nstorms = []\n")
    assert len(steps_of(ProfileChoice(folder, Origin.OPTION), 1, quick=False, seconds=3, workers=1)) == 2


def test_the_manifest_keeps_the_section(folder: Path) -> None:
    profile = load_profile(folder)
    assert Profile.model_validate(profile.model_dump(mode="json")).scenarios == profile.scenarios
