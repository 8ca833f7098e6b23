"""Faults of the target during a run: killed, hung, restarted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from rig.errors import ErrorKind, ExitCode
from rig.machine.child import free_port
from rig.target.postgres import Database
from tests.faults.server import doors
from tests.faults.striking import LOAD, SERVICE, Struck, Workshop
from tests.waiting import wait_until


def test_a_killed_target_fails(workshop: Workshop) -> None:
    struck = Struck(workshop, *LOAD, "-n", "20000")  # to be refused so often takes longer than a probe's second
    struck.until_acknowledged()
    for process in struck.parts(SERVICE):
        process.kill()
    after = struck.aftermath()
    after.told(ExitCode.FAIL, "FAIL")
    assert after.verdict("S8.answers") == "FAIL"
    assert after.verdict("probes") == "FAIL"
    # What it had acknowledged by then is there, and nobody calls the rest lost.
    assert after.verdict("S8.rows") == "PASS"
    assert after.verdict("accounting") == "PASS"
    assert (after.history["outcome"] == "acknowledged").sum() >= 100


LAST_WORDS = """\
import signal, subprocess, sys
service = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
signal.signal(signal.SIGTERM, lambda *_: service.terminate())
sys.stdout.buffer.write(service.communicate()[0])
"""


@pytest.mark.full
def test_what_a_target_logs_with_its_end_is_searched(workshop: Workshop) -> None:
    """A log that is written in blocks: all of it comes when the target is stopped."""
    script = workshop.folder / "last_words.py"
    script.write_text(LAST_WORDS)
    serving, text = '"{python}", "-m", "stub_server.service", "serve"', workshop.profile.read_text()
    assert serving in text
    workshop.profile.write_text(text.replace(serving, f'"{{python}}", "{script}", {serving}'))
    struck = Struck(workshop, "ladder", "--only", "S4", "--steps", "20", "--defect", "personal-data-logged")
    struck.until_stage("starting the target")
    after = struck.aftermath()
    after.told(ExitCode.FAIL, "FAIL")
    assert after.verdict("S4.rows") == "PASS"
    assert after.verdict("privacy.logs") == "FAIL"
    assert "target.log" in after.gates["privacy.logs"]["reason"]


@pytest.mark.full
def test_a_hung_target_fails(workshop: Workshop, database: Database) -> None:
    """Fewer requests than connections: each waits its ten seconds, none for another."""
    struck = Struck(workshop, "perf", "--rate", "18", "--seconds", "10", env=doors(database))
    struck.until_acknowledged(30)
    for process in struck.parts(SERVICE):
        process.send_signal(signal.SIGSTOP)
    after = struck.aftermath()
    after.told(ExitCode.FAIL, "FAIL")
    assert after.verdict("sustained.answers") == "FAIL"
    assert after.gates["sustained.answers"]["figures"]["timeout"] > 0
    assert after.verdict("probes") == "FAIL"
    assert after.verdict("sustained.rows") == "PASS"


@pytest.mark.full
def test_a_target_that_restarts_fails_on_errors_and_its_truth_is_clean(workshop: Workshop, database: Database) -> None:
    port = free_port()
    workshop.target_runs_at(f"http://127.0.0.1:{port}")
    with _service(workshop, database, port) as service:
        struck = Struck(workshop, "perf", "--rate", "100", "--seconds", "15", env=doors(database))
        struck.until_acknowledged()
        _kill(service)
        struck.until_failed(ErrorKind.CONNECT, 10)
        with _service(workshop, database, port):
            after = struck.aftermath()
    after.told(ExitCode.FAIL, "FAIL")
    answers = after.gates["sustained.answers"]
    assert answers["verdict"] == "FAIL"
    assert answers["figures"]["connect"] >= 10  # the refused ones are counted
    rows = after.gates["sustained.rows"]
    assert rows["verdict"] == "PASS"
    assert "lost" not in rows["figures"]
    last = after.history.sort_values("intended_ns").tail(50)
    assert (last["outcome"] == "acknowledged").all(), "it served again"


@contextmanager
def _service(workshop: Workshop, database: Database, port: int) -> Iterator[psutil.Process]:
    """The reference service as somebody else runs it, listening."""
    env = {**os.environ, "DATABASE_URL": database.runtime_dsn, "MIGRATION_DATABASE_URL": database.admin_dsn}
    command = [sys.executable, "-m", SERVICE]
    with (workshop.folder / "service.log").open("ab") as log:
        config = ["--config", str(workshop.service)]
        subprocess.run([*command, "migrate", *config], env=env, stdout=log, stderr=log, check=True)
        serve = [*command, "serve", *config, "--port", str(port)]
        popen = subprocess.Popen(serve, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: popen.poll() is not None or _listens(port))
        assert popen.poll() is None, (workshop.folder / "service.log").read_text()
        yield psutil.Process(popen.pid)
    finally:
        popen.terminate()
        popen.wait(20)


def _kill(service: psutil.Process) -> None:
    for process in [service, *service.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
