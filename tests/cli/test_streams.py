"""Who reads what the command says, and in which encoding, changes neither what it does nor how it ends."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from rig.errors import ExitCode
from tests.cli.commands import QUICK, Going, command, environment, only_pack

MISUSED = ("perf", "-n", "0")


def ended_unheard(*words: str, stream: str) -> int:
    """How a command ends whose reader went before it said anything."""
    reader, writer = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen(
        command(*words),
        stdin=subprocess.PIPE,
        stdout=reader if stream == "stdout" else writer,
        stderr=reader if stream == "stderr" else writer,
        env=environment({}),
    )
    pipe = process.stdout if stream == "stdout" else process.stderr
    assert pipe is not None
    pipe.close()
    return process.wait(60)


@pytest.mark.parametrize(
    ("words", "stream", "code"),
    [(("--help",), "stdout", 0), (MISUSED, "stderr", ExitCode.USAGE), (("check", "/nowhere"), "stderr", 3)],
)
def test_a_reader_that_goes_changes_no_exit_code(words: tuple[str, ...], stream: str, code: int) -> None:
    assert ended_unheard(*words, stream=stream) == code


def test_a_run_goes_on_when_nobody_reads_any_more(tmp_path: Path) -> None:
    going = Going(("calibrate", *QUICK, "--out", str(tmp_path)))
    assert going.process.stdout is not None
    assert going.process.stderr is not None
    going.process.stdout.close()
    going.process.stderr.close()
    assert going.process.wait(60) == ExitCode.PASS
    assert (only_pack(tmp_path) / "report.html").is_file()


def test_a_locale_without_our_characters_keeps_the_verdict(tmp_path: Path) -> None:
    done = subprocess.run(
        command("calibrate", *QUICK, "--out", str(tmp_path)),
        env=environment({"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"}),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == ExitCode.PASS, done.stderr
    assert done.stdout.isascii()


def test_a_terminal_that_hangs_up_interrupts(tmp_path: Path) -> None:
    going = Going(("calibrate", "--null-seconds", "30", "--out", str(tmp_path)))
    going.wait_for("null benchmark")
    going.signal(signal.SIGHUP)
    assert going.end().code == ExitCode.INTERRUPTED
    assert not list(tmp_path.glob("*.partial"))
