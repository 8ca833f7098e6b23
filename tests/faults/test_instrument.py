"""Faults of the rig's own parts during a run: workers, samplers, the results' disk. Never a blame on the target."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rig.errors import ExitCode
from rig.target.postgres import Database
from tests.cli.commands import only_pack, rig
from tests.faults.conftest import fill
from tests.faults.server import doors
from tests.faults.striking import LOAD, WORKER, Aftermath, Struck, Workshop, limited

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set on Linux only")


def _blames_nobody(after: Aftermath) -> None:
    """INVALID; no gate fails, and none that rests on the missing requests passes."""
    after.told(ExitCode.INVALID, "INVALID")
    assert after.sealed
    assert [name for name, gate in after.gates.items() if gate["verdict"] == "FAIL"] == []


def _lacks_a_report(after: Aftermath, scenario: str) -> None:
    _blames_nobody(after)
    for gate in (f"{scenario}.rows", f"{scenario}.answers", "totals", "accounting"):
        assert after.verdict(gate) == "INVALID", gate
    assert "worker" in after.gates["accounting"]["reason"]


@pytest.mark.full
def test_a_killed_worker(workshop: Workshop, database: Database) -> None:
    struck = Struck(workshop, *LOAD, "--workers", "2", env=doors(database))
    struck.until_acknowledged()
    struck.parts(WORKER)[0].kill()
    after = struck.aftermath()
    _lacks_a_report(after, "S8")
    assert "died of SIGKILL" in after.gates["accounting"]["reason"]


@pytest.mark.full
def test_a_stopped_worker(workshop: Workshop, database: Database) -> None:
    """It is waited for until its deadline, a request's timeout and the rig's own patience are over: 17 s here."""
    struck = Struck(workshop, "perf", "--max-seconds", "0.2", "--trials", "1", env=doors(database))
    struck.until_acknowledged()
    struck.part(WORKER).send_signal(signal.SIGSTOP)
    after = struck.aftermath()
    _lacks_a_report(after, "S8")
    assert "no sign of life" in after.gates["accounting"]["reason"]


@linux
@pytest.mark.full
def test_a_worker_without_memory(workshop: Workshop, database: Database) -> None:
    """It may keep what it has; the 100,000 requests that it is to sign ahead need more."""
    struck = Struck(workshop, "perf", "-n", "100000", "--trials", "1", env=doors(database))
    struck.until_stage("starting the target")
    worker = struck.part(WORKER)
    limited(worker, psutil.RLIMIT_AS, worker.memory_info().vms + (8 << 20))
    _lacks_a_report(struck.aftermath(), "S8")


@linux
@pytest.mark.full
def test_a_worker_without_file_descriptors(workshop: Workshop, database: Database) -> None:
    struck = Struck(workshop, *LOAD, env=doors(database))
    struck.until_stage("starting the target")
    worker = struck.part(WORKER)
    limited(worker, psutil.RLIMIT_NOFILE, worker.num_fds() + 20)
    after = struck.aftermath()
    _blames_nobody(after)
    assert "Too many open files" in after.gates["accounting"]["reason"]


@pytest.mark.full
@pytest.mark.parametrize("sampler", ["pg_activity", "pids"])
def test_a_killed_sampler(sampler: str, workshop: Workshop, database: Database) -> None:
    struck = Struck(workshop, *LOAD, env=doors(database))
    struck.until_acknowledged()
    struck.part(f"rig.samplers.{sampler}").kill()
    after = struck.aftermath()
    _blames_nobody(after)
    assert after.verdict("samplers") == "INVALID"
    assert f"{sampler}: it ended before the run did (signal 9)" in after.gates["samplers"]["reason"]
    # The requests and their truth do not depend on it.
    assert after.verdict("S8.rows") == "PASS"
    assert after.verdict("accounting") == "PASS"


@linux
@pytest.mark.full
def test_a_worker_that_cannot_write_its_rows(workshop: Workshop, database: Database) -> None:
    struck = Struck(workshop, *LOAD, env=doors(database))
    struck.until_acknowledged()
    limited(struck.part(WORKER), psutil.RLIMIT_FSIZE, 4096)
    after = struck.aftermath()
    _lacks_a_report(after, "S8")
    assert "File too large" in after.gates["accounting"]["reason"]


@pytest.mark.full
def test_a_full_disk_of_results(
    workshop: Workshop, database: Database, small_disk: Callable[[Path, int], None]
) -> None:
    """What was gathered stays; with room again, settling finishes it and the next run goes as if nothing had been."""
    workshop.results.mkdir()
    small_disk(workshop.results, 32)
    struck = Struck(workshop, *LOAD, env=doors(database))
    struck.until_acknowledged()
    ballast = fill(workshop.results)
    after = struck.aftermath()
    assert after.code == ExitCode.INVALID, after.err
    assert "No space left on device" in after.err
    assert f"rig settle {after.pack}" in after.err
    assert not after.sealed
    ballast.unlink()
    settled = rig("settle", str(after.pack), "--json", env=doors(database))
    assert settled.code == ExitCode.INVALID, settled.err
    verdicts = {gate["id"]: gate["verdict"] for gate in settled.document()["gates"]}
    assert verdicts["S8.rows"] == verdicts["accounting"] == "INVALID"
    assert "FAIL" not in verdicts.values()
    assert only_pack(workshop.results) == Path(settled.document()["pack"])
