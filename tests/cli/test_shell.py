"""The shell that the rig stands in: its variables change no verdict."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rig.errors import ExitCode
from rig.evidence.pack import Pack
from tests.cli.commands import QUICK, command, environment, only_pack, rig

SHORT = ("ladder", "--only", "S2", "--steps", "50", *QUICK)
LIBPQ = {
    "PGSSLMODE": "require",
    "PGSSLROOTCERT": "/nowhere/root.crt",
    "PGSSLNEGOTIATION": "direct",
    "PGHOST": "db.example.com",
    "PGHOSTADDR": "127.0.0.2",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGPASSWORD": "wrong",
    "PGDATABASE": "other",
    "PGOPTIONS": "-c default_transaction_read_only=on -c statement_timeout=1",
    "PGSERVICE": "not-there",
    "PGREQUIREAUTH": "none",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCLIENTENCODING": "LATIN1",
    "PGDATESTYLE": "German",
    "PGTZ": "Asia/Kathmandu",
    "PGAPPNAME": "mine",
    "PGCONNECT_TIMEOUT": "1",
    "PGDATA": "/nowhere",
}
OTHERS = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MPLCONFIGDIR": "/proc/nowhere",
    "GIT_DIR": "/nowhere/.git",
    "GIT_WORK_TREE": "/nowhere",
    "GIT_INDEX_FILE": "/nowhere/index",
    "LC_ALL": "C",
    "LANG": "tr_TR.UTF-8",
    "COLUMNS": "1",
    "LINES": "1",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "PYTHONWARNINGS": "always",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "ascii",
    "PYTHONOPTIMIZE": "1",
    "http_proxy": "http://127.0.0.1:1",
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "ALL_PROXY": "socks5://127.0.0.1:1",
    "NO_PROXY": "",
    "HOME": "/nowhere",
    "XDG_CONFIG_HOME": "/nowhere",
    "TZ": "Pacific/Chatham",
}


@pytest.mark.parametrize(
    "variables",
    [
        LIBPQ | OTHERS,
        # Each half alone, because one variable could hide what another does.
        pytest.param(LIBPQ, marks=pytest.mark.full),
        pytest.param(OTHERS, marks=pytest.mark.full),
    ],
    ids=["both", "libpq", "others"],
)
def test_variables_of_the_shell_change_no_verdict(tmp_path: Path, variables: dict[str, str]) -> None:
    ended = rig(*SHORT, "--out", str(tmp_path), env=variables)
    assert ended.code == ExitCode.PASS, ended.err
    manifest = Pack(only_pack(tmp_path)).manifest()
    plain = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert (manifest.fingerprint["commit"] or "") == plain


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output_is_named_and_takes_no_verdict_along(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            command(*SHORT, "--out", str(tmp_path)),
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment({}),
            timeout=110,
        )
    said = ended.stderr.decode()
    assert ended.returncode == ExitCode.PASS, said
    assert "standard output cannot be written: No space left on device" in said
    assert "Traceback" not in said
    assert Pack(only_pack(tmp_path)).manifest().verb == "ladder"


def test_what_a_dsn_leaves_to_the_environment_is_completed_once() -> None:
    script = """
import os, sys
from rig.machine import libpq
os.environ.update(PGPASSWORD="a b&c", PGSSLMODE="disable", PGHOST="other", PGTZ="UTC", PGAPPNAME="mine", RIG="kept")
libpq.withdraw()
assert not [name for name in os.environ if name.startswith("PG")], os.environ
assert os.environ["RIG"] == "kept"
print(libpq.complete("postgresql://me@here:5433/db", "X"))
print(libpq.complete("postgresql://me:own@here/db?sslmode=allow", "X"))
print(libpq.complete(" dbname=db user=me\\n", "X"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    url, own, words = done.stdout.splitlines()
    assert url == "postgresql://me@here:5433/db?password=a%20b%26c&sslmode=disable"
    assert own == "postgresql://me:own@here/db?sslmode=allow"
    assert set(words.split()) >= {"dbname=db", "user=me", "host=other", "sslmode=disable"}
    assert "password='a b&c'" in words


def test_an_interrupt_while_modules_are_imported_shows_no_traceback() -> None:
    script = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # as Python begins in a terminal

class Interrupted:
    def find_spec(self, name, path, target=None):
        if name == "rig.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupted())
from rig.__main__ import entry
entry()
"""
    ended = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")
