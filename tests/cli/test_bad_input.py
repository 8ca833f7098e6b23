"""What is wrong on the command line, in a profile or in the environment: a clear sentence, the right exit code, and
nothing was started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rig.errors import ConfigError, ExitCode
from rig.profile import bundled_profile
from rig.target.postgres import Database
from tests.cli.commands import QUICK, rig


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonsense",), "No such command"),
        (("ladder", "--steps", "5,x"), "50,250,1000"),
        (("ladder", "--steps", "0"), "from 1"),
        (("ladder", "--only", "S12"), "S1, S2"),
        (("run", "--workers", "0"), "--workers 0"),
        (("run", "--seed", "-1"), "--seed -1"),
        (("perf", "--rate", "-5"), "above 0"),
        (("perf", "--rate", "1e9"), "above 0 to 50,000"),
        (("capacity", "--p95", "nan"), "above 0"),
        (("capacity", "--processes", "1,1"), "different numbers from 1 to 64"),
        (("capacity", "--processes", "two"), "like 1,2,4"),
        (("capacity", "--processes", ""), "like 1,2,4"),
        (("capacity", "--expect-workers", "2", "--processes", "1,2"), "join for one search"),
        (("capacity", "--expect-workers", "2", "--workers", "2"), "leave out --workers"),
        (("capacity", "--expect-workers", "0"), "1<=x<=256"),
        (("capacity", "--master-bind-host", "0.0.0.0"), "go with --expect-workers"),
        (("capacity", "--minutes", "0.05"), "not even one step of 5 s (--seconds) fits in"),
        (("prove", "--only-defect", "rust"), "no-deduplication"),
        (("run", "--no-such-option"), "No such option"),
        (("run", "--profile", ""), "the path is empty"),
        (("run", "--certificate", ""), "--certificate is empty"),
    ],
)
def test_a_usage_error_ends_in_64(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ended = rig(*words, *(("--out", str(tmp_path)) if words[0] != "nonsense" else ()))
    assert ended.code == ExitCode.USAGE
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("verb", "only"), [("ladder", "S9"), ("run", "s9"), ("run", "S1,S9")])
def test_s9_of_a_profile_without_channels_is_a_usage_error(verb: str, only: str, tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    text = bundled_profile().read_text()
    profile.write_text(text[: text.index("[[channels]]")] + text[text.index("[storms") :])
    ended = rig(verb, "--only", only, "--profile", str(profile), "--out", str(tmp_path / "results"))
    assert ended.code == ExitCode.USAGE, ended.err
    assert "--only S9" in ended.err
    assert "[[channels]]" in ended.err
    assert not (tmp_path / "results").exists()


def test_an_unknown_profile_key_is_named(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(bundled_profile().read_text().replace("version = 1", 'version = 1\ncolour = "red"'))
    ended = rig("ladder", "--profile", str(profile), "--out", str(tmp_path / "results"))
    assert ended.code == ExitCode.CONFIG
    assert f"profile {profile} is wrong" in ended.err
    assert "colour: unknown key" in ended.err


def test_a_database_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    dsn = "postgresql://{}:secret-word@127.0.0.1:1/none"
    env = {"RIG_TRUTH_DSN": dsn.format("owner"), "RIG_RUNTIME_DSN": dsn.format("app")}
    ended = rig("ladder", "--reference", "--only", "S9", "--out", str(tmp_path), *QUICK, env=env)
    assert ended.code == ExitCode.UNAVAILABLE
    assert "RIG_TRUTH_DSN" in ended.err
    assert "secret-word" not in ended.err


def test_a_results_directory_that_cannot_be_written_to(tmp_path: Path) -> None:
    occupied = tmp_path / "results"
    occupied.write_text("a file")
    ended = rig("ladder", "--only", "S9", "--out", str(occupied), *QUICK)
    assert ended.code == ExitCode.CONFIG
    assert str(occupied) in ended.err


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = rig("ladder", "--only", "S9", "--port", str(port), "--out", str(tmp_path), *QUICK)
    assert ended.code == ExitCode.UNAVAILABLE
    assert f"port {port}" in ended.err


def test_missing_truth_tables_are_named(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    folder = bundled_profile().parent
    text = bundled_profile().read_text().replace("{profile_dir}", str(folder))
    profile.write_text(text.replace('table = "attribution_events"', 'table = "no_such_events"'))
    ended = rig("ladder", "--only", "S9", "--profile", str(profile), "--out", str(tmp_path / "results"), *QUICK)
    assert ended.code == ExitCode.CONFIG
    assert "no_such_events" in ended.err
    assert "truth.canonical" in ended.err


def test_a_wrong_webhook_secret_is_named(tmp_path: Path) -> None:
    """The service knows another secret than the rig signs with: every request of the first drive is refused."""
    profile = tmp_path / "mine.toml"
    text = bundled_profile().read_text().replace("{profile_dir}", str(bundled_profile().parent))
    others = "(SELECT jsonb_object_agg(key, 'wrong') FROM jsonb_each(%(secrets)s::jsonb))"
    profile.write_text(text.replace("%(api_key_sha256)s, %(secrets)s", f"%(api_key_sha256)s, {others}"))
    ended = rig("ladder", "--steps", "5", "--profile", str(profile), "--out", str(tmp_path / "results"), *QUICK)
    assert ended.code == ExitCode.CONFIG, ended.err
    assert "the target answers 401" in ended.err
    assert "to every request of the first scenario" in ended.err
    assert "the tenant's secret 'stripe'" in ended.err


def test_a_host_beyond_loopback_is_refused(tmp_path: Path, database: Database) -> None:
    profile = tmp_path / "mine.toml"
    text = bundled_profile().read_text()
    launch = text[text.index("[launch]") : text.index("[headers]")]
    profile.write_text(text.replace(launch, '[target]\nbase_url = "http://192.0.2.1:80"\n\n'))
    env = {"RIG_TRUTH_DSN": database.admin_dsn}
    ended = rig("ladder", "--only", "S9", "--profile", str(profile), "--out", str(tmp_path / "out"), *QUICK, env=env)
    assert ended.code == ExitCode.CONFIG
    assert "not loopback" in ended.err
    assert "--allow-host" in ended.err


def test_a_fault_of_the_rig_ends_in_70(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rig.cli import main
    from rig.cli.options import Invocation
    from rig.profile import Profile

    def broken(*_: object) -> Profile:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Invocation, "load_profile", broken)
    assert main(["calibrate"]) == ExitCode.INTERNAL
    said = capsys.readouterr().err
    assert "a fault of the rig itself" in said
    assert "Traceback" not in said


def test_what_an_error_quotes_commands_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target's log, or what it answers, may hold anything: a title, a link, a cleared screen."""
    from rig.cli import main
    from rig.cli.options import Invocation
    from rig.errors import Unavailable
    from rig.profile import Profile

    def broken(*_: object) -> Profile:
        raise Unavailable("its log ends with: \x1b]0;owned\x07\x1b[2Jreally\r\nstart it")

    monkeypatch.setattr(Invocation, "load_profile", broken)
    assert main(["calibrate"]) == ExitCode.UNAVAILABLE
    said = capsys.readouterr().err
    assert said.partition("\n")[2] == "rig: its log ends with: \\x1b]0;owned\\x07\\x1b[2Jreally\\r\nstart it\n"


def test_bytes_that_are_no_text_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with a name in Latin-1: the pack could not say with which words it was made."""
    from rig.cli import main

    assert main(["ladder", "--out", "caf\udce9"]) == ExitCode.USAGE
    assert "'caf\\udce9': it has bytes that are no text" in capsys.readouterr().err


def test_a_secret_that_is_no_text_is_named() -> None:
    from rig.profile import secret_from

    with pytest.raises(ConfigError, match="variable SECRET has bytes that are no text in UTF-8"):
        secret_from({"SECRET": "caf\udce9"}, "SECRET", "the secret")
    with pytest.raises(ConfigError, match="variable SECRET is not set"):
        secret_from({"SECRET": " "}, "SECRET", "the secret")
