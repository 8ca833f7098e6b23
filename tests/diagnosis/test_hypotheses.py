"""Each hypothesis over made-up numbers: supported, refuted, undetermined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rig.diagnose.answer import weigh
from rig.diagnose.numbers import Measured, ServerProcess
from tests.diagnosis.numbers import (
    AT_EASE,
    CLIENT,
    DATABASE,
    HEALTHY,
    IDLE,
    MACHINE,
    POOL,
    SERVER,
    blind,
    idle,
    waiting,
)

ALL = {"H-A1", "H-A2", "H-B1", "H-B2", "H-C", "H-D", "H-E", "H-F", "H-G"}
OCCUPIED = ServerProcess(11, 0.97, 0.02, 0.0)
LOGGING = ServerProcess(11, 0.2, 0.05, 0.7)
SHORT_OF_CORES = replace(AT_EASE, processes=(ServerProcess(11, 0.5, 0.3, 0.0), ServerProcess(12, 0.45, 0.3, 0.0)))


def outcome(measured: Measured, name: str) -> str:
    return weigh(measured).hypothesis(name).outcome


def test_a_healthy_run_says_that_nothing_stands_out() -> None:
    found = weigh(HEALTHY)
    assert (found.state, found.first) == ("nothing", None)
    assert {each.id: each.outcome for each in found.hypotheses} == dict.fromkeys(ALL, "refuted")
    assert found.answer == (
        "nothing stands out: 1,600 requests/s, 199 in flight, 3.3 average active sessions in the database, "
        "the client at 8% of a core, 2 cores 98% busy; other processes held 10% of the machine"
    )


@pytest.mark.parametrize(
    ("foreign", "words"),
    [
        (0.04, "2 cores 98% busy with the run's own work; nothing is taken away"),
        (0.05, "2 cores 98% busy; other processes held 5% of the machine"),
        (None, "2 cores 98% busy; who else used them was not seen"),
    ],
)
def test_work_is_called_the_runs_own_only_where_others_are_known_to_have_done_little(
    foreign: float | None, words: str
) -> None:
    seen = "" if foreign is None else f"other processes held {foreign:.0%} of the machine"
    machine = replace(MACHINE, foreign=foreign, strangers=seen)
    assert weigh(replace(HEALTHY, machine=machine)).answer.endswith(words)


def test_a_healthy_target_at_its_limit_says_what_is_full() -> None:
    def full(**parts: Any) -> str:
        return weigh(replace(HEALTHY, **parts), at_limit=True).answer.partition(": 1,600 requests/s")[0]

    assert full().startswith("saturated: the cores: 98% of 2 are busy (server ")
    assert full(machine=IDLE, server=replace(SERVER, processes=(OCCUPIED, OCCUPIED))) == (
        "saturated: the server's processes: none of the 2 is idle"
    )


SUPPORTED = {
    "slow commit, behind which the pool fills": (
        "H-A1",
        idle(database=waiting(LWLock_WALWrite=14.0, IO_WalSync=1.0), pool=replace(POOL, waiting=180.0)),
    ),
    "a slow standby": ("H-A1", idle(database=waiting(IPC_SyncRep=15.5), pool=replace(POOL, waiting=180.0))),
    "slow commit, and a pool that tells nothing": (
        "H-A1",
        idle(database=waiting(IO_WalSync=15.5), pool=None, unseen={"pool": "its counters"}),
    ),
    "a convoy on one row": (
        "H-A2",
        idle(database=waiting(600.0, Lock_transactionid=14.0, IO_WalSync=0.8), pool=replace(POOL, waiting=180.0)),
    ),
    "one connection a process": (
        "H-B1",
        idle(
            900.0,
            database=replace(waiting(900.0, IO_WalSync=0.9, CPU=0.3), connections=2.0),
            pool=replace(POOL, connections_max=2.0, waiting=190.0),
        ),
    ),
    "one connection a process, and a pool that tells nothing": (
        "H-B1",
        idle(
            900.0,
            database=replace(waiting(900.0, IO_WalSync=1.2, CPU=0.5), connections=2.0),
            pool=None,
            unseen={"pool": "its counters"},
        ),
    ),
    "a session for every request": (
        "H-B2",
        replace(HEALTHY, requests=1500, database=replace(DATABASE, connects_per_s=240.0, commits_per_s=240.0)),
    ),
    "a server that writes more than it serves": (
        "H-C",
        replace(
            idle(database=waiting(200.0, IO_WalSync=0.6), pool=replace(POOL, waiting=3.0)),
            server=replace(AT_EASE, processes=(LOGGING, LOGGING), written_bytes_per_request=33_000.0),
        ),
    ),
    "a worker at its core": ("H-D", idle(client=replace(CLIENT, utilisation=0.98, lag_p99_ms=41.0))),
    "a worker that was stopped": ("H-D", idle(client=replace(CLIENT, stalled=0.6))),
    "a worker that was stopped, on a crowded machine": (
        "H-D",
        replace(HEALTHY, client=replace(CLIENT, stalled=0.9), machine=replace(MACHINE, foreign=0.5)),
    ),
    "requests that are due and not sent": ("H-D", idle(client=replace(CLIENT, late=150.0))),
    "one process that computes": (
        "H-E",
        replace(HEALTHY, server=replace(SERVER, processes=(OCCUPIED, ServerProcess(12, 0.3, 0.1, 0.0)))),
    ),
    "all processes compute": (
        "H-E",
        replace(HEALTHY, server=replace(SERVER, processes=(OCCUPIED, OCCUPIED), cpu_ms_per_request=4.2)),
    ),
    "one process that computes, on a crowded machine": (
        "H-E",
        replace(
            HEALTHY,
            client=replace(CLIENT, unevenness=7.0),
            machine=replace(MACHINE, foreign=0.5),
            server=replace(SERVER, processes=(ServerProcess(11, 0.3, 0.69, 0.0), ServerProcess(12, 0.3, 0.6, 0.0))),
        ),
    ),
    "a quota": ("H-F", idle(machine=replace(IDLE, throttled=0.5))),
    "a hypervisor": ("H-F", replace(HEALTHY, machine=replace(MACHINE, steal=0.3))),
    "a lock, a sleep or a call that nobody sees": (
        "H-G",
        idle(database=waiting(CPU=0.5), pool=replace(POOL, waiting=2.0)),
    ),
    "the same, with a pool that tells nothing": (
        "H-G",
        idle(database=waiting(CPU=0.5), pool=None, unseen={"pool": "its counters"}),
    ),
    "the same, though the processes often wait for a core": (
        "H-G",
        idle(database=waiting(CPU=0.5), pool=replace(POOL, waiting=2.0), server=SHORT_OF_CORES),
    ),
    "other people's work": ("H-F", replace(HEALTHY, machine=replace(MACHINE, foreign=0.5))),
    "so much of it that chance says which connection is slow": (
        "H-F",
        replace(
            HEALTHY,
            client=replace(CLIENT, unevenness=7.0),
            machine=replace(MACHINE, foreign=0.7),
            server=replace(SERVER, processes=(ServerProcess(11, 0.15, 0.84, 0.0), ServerProcess(12, 0.15, 0.8, 0.0))),
        ),
    ),
}


@pytest.mark.parametrize(("name", "measured"), SUPPORTED.values(), ids=SUPPORTED.keys())
def test_supported_and_first(name: str, measured: Measured) -> None:
    found = weigh(measured)
    assert (found.state, found.first) == ("supported", name)
    assert found.answer.startswith(found.hypotheses[0].title)
    assert 0 < found.hypotheses[0].score <= 1


REFUTED = {
    "most wait for the log, but a commit is short": (
        "H-A1",
        idle(2000.0, database=waiting(2000.0, IO_WalSync=3.0), pool=replace(POOL, waiting=190.0)),
    ),
    "commits are long, for want of a core": (
        "H-A1",
        replace(HEALTHY, database=waiting(200.0, LWLock_WALWrite=15.5), machine=MACHINE),
    ),
    "commits are long, but nobody queues behind them": (
        "H-A1",
        idle(database=waiting(50.0, IO_WalSync=1.0), pool=replace(POOL, waiting=5.0)),
    ),
    "a wait for a lock now and then": ("H-A2", idle(database=waiting(1500.0, Lock_tuple=0.4, CPU=2.0))),
    "the pool is full because commits are slow": (
        "H-B1",
        idle(database=waiting(IO_WalSync=15.5), pool=replace(POOL, waiting=180.0)),
    ),
    "the pool is full because the cores are": ("H-B1", HEALTHY),
    "connections to spare": ("H-B1", idle(pool=replace(POOL, waiting=2.0))),
    "a session now and then": ("H-B2", idle(database=replace(DATABASE, connects_per_s=2.0))),
    "much is written, but nobody waits for it": (
        "H-C",
        replace(idle(), server=replace(AT_EASE, written_bytes_per_request=33_000.0)),
    ),
    "a client at ease": ("H-D", HEALTHY),
    "a client that a quota holds up with everybody else": (
        "H-D",
        idle(client=replace(CLIENT, stalled=0.4, without_core=0.4), machine=replace(IDLE, throttled=0.5)),
    ),
    "busy and even, at a fair price": (
        "H-E",
        replace(HEALTHY, server=replace(SERVER, processes=(OCCUPIED, OCCUPIED), cpu_ms_per_request=0.3)),
    ),
    "never idle, for want of a core": (
        "H-E",
        replace(HEALTHY, server=replace(SERVER, processes=(ServerProcess(11, 0.3, 0.65, 0.0),) * 2)),
    ),
    "busy with connecting": (
        "H-E",
        replace(
            HEALTHY,
            server=replace(SERVER, processes=(OCCUPIED, OCCUPIED), cpu_ms_per_request=4.2),
            database=replace(DATABASE, connects_per_s=1600.0),
        ),
    ),
    "a wait that commits explain": ("H-G", idle(database=waiting(IO_WalSync=15.5), pool=replace(POOL, waiting=20.0))),
    "a wait for a core": ("H-G", HEALTHY),
    "a queue at processes that often wait for a core": (
        "H-G",
        idle(database=waiting(CPU=0.5), pool=replace(POOL, waiting=60.0), server=SHORT_OF_CORES),
    ),
    "answers that queue at a client that often waits for a core": (
        "H-G",
        idle(
            database=waiting(CPU=0.5),
            pool=replace(POOL, waiting=40.0),
            client=replace(CLIENT, utilisation=0.5, without_core=0.35),
        ),
    ),
    "a wait of a loop and a socket": ("H-G", replace(idle(), in_flight=1.0, database=waiting(CPU=0.1))),
    "all cores busy, with the run's own work": ("H-F", HEALTHY),
    "others at work, but there are cores for all": (
        "H-F",
        idle(machine=replace(IDLE, foreign=0.4)),
    ),
}


@pytest.mark.parametrize(("name", "measured"), REFUTED.values(), ids=REFUTED.keys())
def test_refuted(name: str, measured: Measured) -> None:
    assert outcome(measured, name) == "refuted"


UNDETERMINED = {
    "database": {"H-A1", "H-A2", "H-B1", "H-B2", "H-G"},
    "server": {"H-C", "H-E", "H-G"},
    "machine": {"H-F", "H-G"},
}


@pytest.mark.parametrize(("part", "names"), UNDETERMINED.items())
def test_undetermined_with_what_to_look_at_next(part: str, names: set[str]) -> None:
    found = weigh(blind(part))
    assert (found.state, found.first) == ("undetermined", None)
    assert {each.id for each in found.hypotheses if each.outcome == "undetermined"} == names
    assert found.look_next == (f"nobody looked at the {part}",)


def test_without_workers_nothing_is_known_of_the_client() -> None:
    assert outcome(replace(HEALTHY, client=None), "H-D") == "undetermined"


def test_sessions_that_an_old_server_does_not_count() -> None:
    assert outcome(idle(database=replace(DATABASE, connects_per_s=None)), "H-B2") == "undetermined"


def test_bytes_that_may_not_be_seen() -> None:
    unseen = replace(AT_EASE, written_bytes_per_request=None)
    assert outcome(replace(idle(), server=unseen, unseen={"written": "another user's"}), "H-C") == "undetermined"


def test_a_client_at_its_limit_is_found_without_samplers() -> None:
    found = weigh(blind("database", "server", "pool", client=replace(CLIENT, utilisation=0.98, lag_p99_ms=41.0)))
    assert (found.state, found.first) == ("supported", "H-D")


def test_a_client_that_signs_as_it_goes_is_told_so() -> None:
    says = "signing takes 1.2 ms of the 1.3 ms a request"
    found = weigh(idle(client=replace(CLIENT, utilisation=0.98, signing=says)))
    assert found.first == "H-D"
    assert f"{says}, because the requests were not signed ahead: raise tolerance_s" in found.hypotheses[0].because
    at_ease = weigh(idle(client=replace(CLIENT, signing=says)))
    assert at_ease.first != "H-D"


def test_the_order_of_what_is_supported() -> None:
    commits = idle(database=waiting(IO_WalSync=15.5), machine=replace(IDLE, steal=0.3))
    assert [each.id for each in weigh(commits).hypotheses[:2]] == ["H-F", "H-A1"]
    locks = replace(commits, database=waiting(Lock_transactionid=15.5))
    assert [each.id for each in weigh(locks).hypotheses[:2]] == ["H-A2", "H-F"]
    client = replace(locks, client=replace(CLIENT, utilisation=0.95))
    assert [each.id for each in weigh(client).hypotheses[:3]] == ["H-D", "H-A2", "H-F"]


def test_a_run_that_is_short_of_cores_blames_neither_commits_nor_the_pool() -> None:
    starved = replace(SERVER, processes=(ServerProcess(11, 0.1, 0.6, 0.0),) * 2)
    found = weigh(
        replace(
            idle(database=waiting(LWLock_WALWrite=15.5), pool=replace(POOL, waiting=180.0)),
            server=starved,
            machine=replace(MACHINE, foreign=0.6),
        )
    )
    assert found.first == "H-F"
    assert {found.hypothesis(name).outcome for name in ("H-A1", "H-B1")} == {"refuted"}


def test_a_sentence_as_a_person_would_say_it() -> None:
    found = weigh(idle(client=replace(CLIENT, busiest=1, utilisation=0.98, lag_p99_ms=41.0), database=waiting(CPU=0.4)))
    assert found.answer == (
        "the client: worker 1 at 98% of a core, lag p99 41 ms, 0.4 average active sessions in the database"
    )
