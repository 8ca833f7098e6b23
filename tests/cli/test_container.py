"""The circumstances of a container, made by `unshare` and `setpriv`: the rig works, or says what helps.

Whatever comes of it, nothing is left, nothing is a fault of the rig (70), and nobody sees a traceback. A circumstance
that may not be made here is skipped by name.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from rig.errors import ExitCode
from tests.cli.commands import QUICK, command, environment

STRANGER = "54321"
"""A uid without a name, as OpenShift or `docker run --user` gives one."""
DOCTOR = ("doctor", "--reference")
LADDER = ("ladder", "--only", "S2", "--steps", "50", *QUICK, "--reference", "--out", "{home}/results")
PRIVATE = "mount --make-rprivate / && "
READ_ONLY = PRIVATE + "mount -t tmpfs -o mode=1777 none {home} && mkdir {home}/tmp && chmod 1777 {home}/tmp && "
# Python itself may lie in a folder that only its owner may enter, so that another user needs a way to it.
REACHABLE = PRIVATE + (
    "for up in {closed}; do mkdir -p {home}/way && mount --bind {prefix} {home}/way && mount -t tmpfs none $up && "
    "chmod 755 $up && mkdir -p {prefix} && mount --bind {home}/way {prefix}; done && "
)


def within(script: str, *flags: str) -> tuple[str, ...]:
    """In namespaces of its own, after a script."""
    return ("unshare", "--mount", *flags, "sh", "-c", script + 'exec "$@"', "sh")


def by_shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script, "sh")


@dataclass(frozen=True)
class Circumstance:
    """``around`` is what the rig is started with; ``said`` is what helps, where the rig cannot work."""

    around: tuple[str, ...]
    words: tuple[str, ...] = DOCTOR
    code: ExitCode = ExitCode.PASS
    said: str = ""
    variables: tuple[tuple[str, str], ...] = ()


AS_STRANGER = ("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups")
NO_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
WORKS = {
    "a read-only root": Circumstance(within(READ_ONLY + "mount -o remount,bind,ro / && ")),
    "no /dev/shm that can be written": Circumstance(within(PRIVATE + "mount -t tmpfs -o ro none /dev/shm && ")),
    "no home": Circumstance(("env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME")),
    "a home and a TMPDIR that are not there": Circumstance((), variables=(("HOME", "/no"), ("TMPDIR", "/no"))),
    "umask 077": Circumstance(by_shell('umask 077; exec "$@"')),
    "umask 000": Circumstance(by_shell('umask 000; exec "$@"')),
    "nothing open": Circumstance(by_shell('exec "$@" <&- >&- 2>&-')),
    "stdin closed": Circumstance(by_shell('exec "$@" <&-')),
    "stdout closed": Circumstance(by_shell('exec "$@" >&-')),
    "stderr closed": Circumstance(by_shell('exec "$@" 2>&-')),
    "the rig as process 1": Circumstance(("unshare", "--pid", "--fork", "--mount-proc"), LADDER),
}
HELPS = {
    "root without capabilities": Circumstance(
        NO_RIGHTS, DOCTOR, ExitCode.UNAVAILABLE, "give it CAP_CHOWN, CAP_SETUID and CAP_SETGID"
    ),
    "a user without a name": Circumstance(
        (*within(REACHABLE), *AS_STRANGER), DOCTOR, ExitCode.UNAVAILABLE, "RUN useradd --uid 54321"
    ),
    "a /dev/shm of 64 kB": Circumstance(
        within(PRIVATE + "mount -t tmpfs -o size=64k none /dev/shm && "),
        DOCTOR, ExitCode.UNAVAILABLE, "--shm-size=256m",
    ),
    "a read-only root and nowhere to write": Circumstance(
        within(PRIVATE + "mount -o remount,bind,ro / && "), DOCTOR, ExitCode.CONFIG, "docker run --tmpfs /tmp"
    ),
    "results on a read-only root": Circumstance(
        within(READ_ONLY + "mount -o remount,bind,ro / && "),
        (*LADDER[:-1], "/results"), ExitCode.CONFIG, "give --out a writable one",
    ),
}  # fmt: skip


@pytest.fixture
def home() -> Iterator[Path]:
    """Not below pytest's own folders: those are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="rig-container-"))
    folder.chmod(0o755)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def filled(words: Sequence[str], home: Path) -> list[str]:
    prefix = Path(sys.base_prefix)
    closed = [str(up) for up in reversed(prefix.parents) if not up.stat().st_mode & 0o001]
    places = {"{home}": str(home), "{prefix}": str(prefix), "{closed}": " ".join(closed[:1])}
    made = list(words)
    for name, value in places.items():
        made = [word.replace(name, value) for word in made]
    return made


def run_in(circumstance: Circumstance, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the rig so; skipped where this may not be done here."""
    around = filled(circumstance.around, home)
    try:
        tried = subprocess.run([*around, "true"], capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(f"there is no {error.filename}")
    if tried.returncode:
        pytest.skip(f"not allowed here: {tried.stderr.strip()}")
    variables = {"TMPDIR": str(home / "tmp"), **dict(circumstance.variables), "RIG_TEST_HOME": str(home)}
    words = [*around, *command(*filled(circumstance.words, home))]
    return subprocess.run(words, env=environment(variables), capture_output=True, text=True, timeout=110)


def left(home: Path) -> list[str]:
    """The files and processes that are left."""
    found = [str(path) for path in (home / "tmp").iterdir()]
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get("RIG_TEST_HOME") == str(home):
                found.append(f"{process.pid} {process.name()}")
    return found


def checked(circumstance: Circumstance, home: Path) -> None:
    ended = run_in(circumstance, home)
    said = ended.stdout + ended.stderr
    assert ended.returncode == circumstance.code, said
    assert circumstance.said in said
    assert "Traceback" not in said
    assert not left(home)


@pytest.mark.parametrize("name", [next(iter(HELPS)), *(pytest.param(n, marks=pytest.mark.full) for n in [*HELPS][1:])])
def test_what_helps_is_said(name: str, home: Path) -> None:
    checked(HELPS[name], home)


@pytest.mark.full
@pytest.mark.parametrize("name", WORKS)
def test_the_rig_works(name: str, home: Path) -> None:
    checked(WORKS[name], home)
