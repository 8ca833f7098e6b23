"""What a fault strikes: the processes that serve, and the sessions that are the service's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import psutil
import psycopg
import pytest

from rig.chaos.database import DATABASE_FAULTS
from rig.chaos.fault import ChaosTarget
from rig.errors import RigError
from rig.machine.supervisor import Supervisor
from rig.profile import bundled_profile, load_profile
from rig.target.endpoint import Endpoint
from rig.target.launch import LiveTarget
from rig.target.postgres import Database
from rig.target.store import Store

_HANDS_ON = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", 0))
ways = []
for _ in range(2):
    near, far = socket.socketpair()
    if not os.fork():
        server.close(); near.close()
        kept = []
        while True:
            _, fds, *_ = socket.recv_fds(far, 1, 1)
            if not fds: os._exit(0)
            kept += fds
    far.close(); ways.append(near)
if not os.fork():
    server.close()
    for way in ways: way.close()
    sys.stdin.read(); os._exit(0)   # a helper that serves nobody
print(server.getsockname()[1], flush=True)
turn = 0
while True:
    connection, _ = server.accept()
    socket.send_fds(ways[turn % 2], [b"x"], [connection.fileno()])
    connection.close(); turn += 1
"""


@contextmanager
def running(program: str) -> Iterator[tuple[psutil.Process, int]]:
    """A server and its port. It and its processes end with its input."""
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield psutil.Process(process.pid), int(process.stdout.readline())
        finally:
            process.kill()


def test_processes_that_are_handed_their_connections_serve_and_their_parent_only_looks_after_them(
    supervisor: Supervisor,
) -> None:
    """As under Node's cluster."""
    with running(_HANDS_ON) as (parent, port):
        service = cast(Any, SimpleNamespace(pid=parent.pid, has_ended=False))
        live = LiveTarget(Endpoint("127.0.0.1", port, addresses=("127.0.0.1",)), service)
        profile = load_profile(bundled_profile())
        target = ChaosTarget(profile, Store("", None, {}), live, supervisor, {})
        assert [each.pid for each in target.serving()] == sorted(each.pid for each in parent.children())[:2]


def sessions_end(database: Database, supervisor: Supervisor, *, lasting: bool) -> str:
    """End the service's sessions; what the fault says of it."""
    store = Store(database.admin_dsn, database.runtime_dsn, {}, lasting=lasting)
    target = cast(ChaosTarget, SimpleNamespace(store=store, runtime_role=database.runtime_role))
    (fault,) = (each for each in DATABASE_FAULTS if each.name == "sessions-terminated")
    with fault.strike(target, Random(1)) as struck:
        return struck.notes[0]


def test_in_a_database_of_the_rig_any_role_may_be_the_service(database: Database, supervisor: Supervisor) -> None:
    """As where the profile starts the service with ``{admin_dsn}``."""
    with psycopg.connect(database.admin_dsn) as connection:
        assert sessions_end(database, supervisor, lasting=False) == "1 sessions"
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_in_a_database_of_others_only_the_runtime_role_is_the_service(
    database: Database, supervisor: Supervisor
) -> None:
    with psycopg.connect(database.admin_dsn) as connection:
        with pytest.raises(RigError, match="no session"):
            sessions_end(database, supervisor, lasting=True)
        assert connection.execute("SELECT 1").fetchone() == (1,)
