"""pids against real processes: roles, counters, ends, and what was used by those that ended unseen."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rig.diagnose import cpu
from rig.evidence.journal import read_journal
from rig.evidence.sample_files import read_samples
from rig.evidence.sample_names import PIDS, Role
from rig.evidence.samples import Samples
from rig.machine.processes import alive
from rig.samplers.procfs import Gone, _read_written_bytes
from rig.samplers.roles import Rule
from rig.samplers.sampling import SamplingPlan
from rig.target.postgres import Database
from tests.samplers.watching import Watched, connected, watched
from tests.waiting import wait_until

CROWDED = """
import json, os, pathlib, resource, subprocess, sys
from rig.evidence.journal import Journal
from rig.samplers.pids import make
crowd = [subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) for _ in range(8)]
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
rules = [{"role": "crowd", "pids": [process.pid for process in crowd]}]
options = {"hz": 1.0, "rules": rules, "samplers": [], "backend": None, "aside": []}
journal = Journal(pathlib.Path(sys.argv[1]))
try:
    sampler = make(options, journal)
    for number in range(3):
        sampler.tick(number)
    print(json.dumps([sampler.unseen, len(os.listdir("/proc/self/fd"))]))
    journal.close()
finally:
    for process in crowd:
        process.kill()
        process.wait()
"""
ADOPTING = """
import json, os, pathlib, subprocess, sys, time
import psutil
from rig.machine.child import start
from rig.machine.orphans import adopt_orphans
from rig.samplers.sampling import plan_of_run, sampling
adopt_orphans(lambda pid: None)
wait = [sys.executable, "-c", "import sys; sys.stdin.read()"]
own = subprocess.Popen(wait, stdin=subprocess.PIPE)
leaves = "(env -i setsid sh -c 'echo $$; exec sleep 600' &); exec sleep 600"
target = start(["sh", "-c", leaves], stdout=subprocess.PIPE)
orphan = int(target.stdout.readline())
while psutil.Process(orphan).ppid() != os.getpid():
    time.sleep(0.01)
with sampling(plan_of_run(None, target.pid, None, ()), pathlib.Path(sys.argv[1])) as samplers:
    print(json.dumps([orphan, target.pid, own.pid, samplers.processes[0].pid]), flush=True)
    sys.stdin.read()
for process in (own, target):
    process.kill()
    process.wait()
"""
BURN = "import time; end = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"
WAIT = "import sys; sys.stdin.read()"
LISTEN = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0)); print(listener.getsockname()[1], flush=True)
held = [listener.accept() for _ in range(3)]; print("held", flush=True); sys.stdin.read()
"""


@contextmanager
def python(code: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process, killed and waited for at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def cpu_of(samples: Samples, pid: int) -> float:
    """CPU seconds of a process over all that was sampled."""
    found = cpu.by_process(samples, 0, time.monotonic_ns())
    return float(found.loc[found["pid"] == pid, "cpu_s"].sum())


def test_a_process_is_followed_from_its_start_to_its_end(tmp_path: Path) -> None:
    with python(BURN.format(seconds=0.6) + "\n" + WAIT) as burner:
        with watched(SamplingPlan(None, (Rule("burner", (burner.pid,)),)), tmp_path) as watching:
            watching.until(lambda samples: cpu_of(samples, burner.pid) >= 0.6)
            with python(BURN.format(seconds=0.1) + "\n" + WAIT) as stranger:
                watching.until(lambda samples: stranger.pid in set(samples.others["pid"]))
            burner.kill()
            _, status, usage = os.wait4(burner.pid, 0)
            burner.returncode = os.waitstatus_to_exitcode(status)
            ended_ns = time.monotonic_ns()
            watching.until(lambda samples: samples.ticks["at_ns"].max() > ended_ns + 400_000_000)
        samples = watching.samples
    (process,) = samples.processes[samples.processes["role"] == "burner"].itertuples()
    assert (process.pid, process.ns_pid, process.ppid) == (burner.pid, burner.pid, os.getpid())
    assert 0 < process.started_ns < samples.pids["at_ns"].min()
    rows = samples.pids[samples.pids["pid"] == burner.pid]
    assert rows["at_ns"].max() < ended_ns + 1
    assert cpu_of(samples, burner.pid) == pytest.approx(usage.ru_utime + usage.ru_stime, rel=0.05)
    assert (rows["rss_bytes"] > 1 << 20).all()
    assert (rows["threads"] == 1).all()
    assert (rows["fds"] >= 3).all()
    assert rows["involuntary"].is_monotonic_increasing
    # A process without a role has its name and what it used, and nothing else.
    others = samples.others[samples.others["pid"] == stranger.pid]
    assert stranger.pid not in set(samples.pids["pid"])
    assert others["name"].str.startswith("python").all()
    assert others["cpu_s"].sum() == pytest.approx(0.1, abs=0.1)
    assert (others["since_ns"] < others["at_ns"]).all()


def test_children_belong_to_the_role_and_those_that_nobody_saw_are_in_their_parents_account(tmp_path: Path) -> None:
    # A child that lives on, and then children of a tenth of a second, which no look once a second can find.
    code = f"""
import subprocess, sys
staying = subprocess.Popen([sys.executable, "-c", {WAIT!r}], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
sys.stdin.readline()
for _ in range(5):
    subprocess.run([sys.executable, "-c", {BURN.format(seconds=0.1)!r}])
print("done", flush=True); sys.stdin.readline()
"""
    with python(code) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        with watched(SamplingPlan(None, (Rule(Role.SERVER, (parent.pid,)),)), tmp_path) as watching:
            watching.until(lambda samples: (samples.processes["role"] == Role.SERVER).sum() == 2)
            parent.stdin.write("go\n")
            parent.stdin.flush()
            assert parent.stdout.readline() == "done\n"
            done_ns = time.monotonic_ns()
            samples = watching.until(lambda samples: samples.pids["at_ns"].max() > done_ns)
    found = cpu.by_process(samples, int(samples.pids["at_ns"].min()), int(samples.pids["at_ns"].max()))
    assert set(found["role"]) >= {Role.SERVER, Role.SAMPLER}
    unseen = found[(found["pid"] == cpu.UNSEEN_PID) & (found["role"] == Role.SERVER)]["cpu_s"].sum()
    seen_briefly = found[(found["role"] == Role.SERVER) & ~found["pid"].isin([parent.pid, cpu.UNSEEN_PID])][
        "cpu_s"
    ].sum()
    assert unseen + seen_briefly >= 0.5


def test_a_process_of_the_target_that_lost_its_parent_is_the_targets(tmp_path: Path) -> None:
    """It left session, environment and parent before it was seen, and the rig adopted it."""
    with subprocess.Popen(
        [sys.executable, "-c", ADOPTING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as rig:
        assert rig.stdout is not None
        orphan, target, own, sampler = json.loads(rig.stdout.readline())
        try:
            seen = Watched(tmp_path).until(lambda samples: orphan in set(samples.processes["pid"]))
        finally:
            os.kill(orphan, signal.SIGKILL)
            rig.communicate()
    processes = seen.processes.set_index("pid")
    assert processes["ppid"][orphan] == rig.pid
    roles = {orphan: Role.SERVER, target: Role.SERVER, own: Role.RIG, sampler: Role.SAMPLER}
    assert processes["role"][list(roles)].to_dict() == roles


def test_a_match_finds_what_starts_later_but_not_the_one_who_looks(tmp_path: Path) -> None:
    marker = f"marker-{os.getpid()}"
    rules = (Rule("found", match=marker), Rule(Role.RIG, (os.getpid(),)))
    with watched(SamplingPlan(None, rules), tmp_path) as watching:
        watching.until(lambda samples: len(samples.pids) > 0)
        with python(f"import sys; {marker.replace('-', '_')!r}; '{marker}'; sys.stdin.read()") as late:
            samples = watching.until(lambda samples: "found" in set(samples.processes["role"]))
    assert set(samples.processes.loc[samples.processes["role"] == "found", "pid"]) == {late.pid}


def test_a_role_without_a_process_is_named(tmp_path: Path) -> None:
    with watched(SamplingPlan(None, (Rule(Role.SERVER, match="no such command line"),)), tmp_path) as watching:
        watching.until(lambda samples: len(samples.pids) > 0)
    report = watching.samples.report(PIDS)
    assert report is not None
    assert report.unseen == ("processes of the role 'server': none was found",)


def test_more_processes_than_files_may_be_open_are_said_to_be_unseen(tmp_path: Path) -> None:
    """Those that were found are followed; of one that was not, no file stays open."""
    journal = tmp_path / "pids.jsonl"
    done = subprocess.run([sys.executable, "-c", CROWDED, str(journal)], capture_output=True, text=True, check=True)
    unseen, descriptors = json.loads(done.stdout)
    assert "some processes of the role 'crowd': Too many open files" in unseen
    tables = [(table, rows) for table, _, rows in read_journal(journal)]
    met = [row for table, rows in tables if table == "processes" for row in rows]
    assert 1 <= len(met) < 9
    assert len([rows for table, rows in tables if table == "pids"][-1]) == len(met)
    assert descriptors == 3 + 2 + 3 * len(met) + 1  # the standard ones, journal and machine, theirs, the listing's


def test_postgresql_is_found_by_the_backend_that_serves_the_other_sampler(database: Database, tmp_path: Path) -> None:
    with connected(database.admin_dsn) as session:
        backend = session.info.backend_pid
        with watched(SamplingPlan(database.admin_dsn), tmp_path) as watching:
            watching.until(lambda samples: len(samples.pids) > 0)
            session.execute("SELECT count(*) FROM generate_series(1, 2000000)")
            asked_ns = time.monotonic_ns()
            watching.until(lambda samples: samples.pids["at_ns"].max() > asked_ns)
    samples = watching.samples
    roles = samples.processes.set_index("ns_pid")["role"]
    assert roles[backend] == Role.BACKEND
    assert (roles == Role.SAMPLER_BACKEND).sum() == 1
    assert (roles == Role.AUXILIARY).sum() >= 4
    assert cpu_of(samples, int(samples.processes.set_index("ns_pid")["pid"][backend])) > 0.05
    assert samples.report(PIDS).facts["postgres_found"]  # type: ignore[union-attr]


def test_connections_are_counted_by_the_process_that_serves_them(tmp_path: Path) -> None:
    with (
        python(LISTEN) as server,
        watched(SamplingPlan(None, (Rule(Role.SERVER, (server.pid,)),)), tmp_path) as watching,
    ):
        assert server.stdout is not None
        port = int(server.stdout.readline())
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        assert server.stdout.readline() == "held\n"
        samples = watching.until(lambda samples: (samples.sockets["established"] == 3).any())
        for client in clients:
            client.close()
    assert set(samples.sockets["pid"]) == {server.pid}
    (spread,) = cpu.spread(samples, 0, time.monotonic_ns()).itertuples()
    assert (spread.pid, spread.connections) == (server.pid, 3)


def test_the_machine_is_accounted_for(tmp_path: Path) -> None:
    with (
        python(BURN.format(seconds=60)) as burner,
        watched(SamplingPlan(None, (Rule("b", (burner.pid,)),)), tmp_path) as watching,
    ):
        samples = watching.until(lambda samples: len(samples.machine) > 8)
    start_ns, end_ns = (int(samples.machine["at_ns"].iloc[i]) for i in (0, -1))
    machine = cpu.machine(samples, start_ns, end_ns)
    assert machine is not None
    assert machine.cores == os.cpu_count()
    assert 0.3 < machine.busy_cores <= machine.cores
    by_role = cpu.by_role(samples, start_ns, end_ns)
    # The whole is the sum of its parts; a tick of the kernel's clock is 10 ms.
    assert float(by_role.sum()) == pytest.approx(machine.busy_cores, abs=0.1)
    assert by_role[Role.OTHER] < machine.cores


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_sampler_that_dies_is_a_failure_and_keeps_what_it_saw(number: signal.Signals, tmp_path: Path) -> None:
    with watched(SamplingPlan(None, (Rule(Role.RIG, (os.getpid(),)),)), tmp_path) as watching:
        watching.until(lambda samples: len(samples.pids) >= 3)
        os.kill(watching.samplers[-1].pid, number)
        wait_until(lambda: not watching.samplers[-1].alive)
    report = watching.samples.report(PIDS)
    assert report is not None
    assert report.failure.startswith("it ended before the run did")
    assert len(watching.samples.pids) >= 3


def test_a_sampler_ends_with_the_rig(tmp_path: Path) -> None:
    """Whoever started it is killed: stdin closes, and the sampler writes its last report and goes."""
    code = f"""
import os, pathlib, sys
from rig.samplers.sampling import SamplingPlan, sampling
with sampling(SamplingPlan(None), pathlib.Path({str(tmp_path)!r})) as samplers:
    print(samplers.processes[-1].pid, flush=True); sys.stdin.read()
"""
    with python(code) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
        wait_until(lambda: not alive(pid), what="the sampler outlives the rig")
    report = read_samples(tmp_path).report(PIDS)
    assert report is not None
    assert report.failure == ""


def test_one_that_is_reaped_between_two_reads_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        account = os.open(f"/proc/{process.pid}/io", os.O_RDONLY)
        assert _read_written_bytes(account) >= 0
        process.communicate(b"\n")
    with pytest.raises(Gone):
        _read_written_bytes(account)
    os.close(account)
