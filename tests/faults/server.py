"""A PostgreSQL of the test's own, which a run attaches to and a test kills: what a user's database is to the rig."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString

import psutil
import psycopg

from rig.machine.processes import alive
from rig.machine.supervisor import Supervisor
from rig.target.postgres import Cluster, Database, open_cluster
from rig.target.postgres.cluster import DSN_VARIABLE
from tests.waiting import wait_until

_QUIET = {"autovacuum": "off", "bgwriter_lru_maxpages": "0", "wal_writer_delay": "10s"}
"""So that nobody writes but the service, and what one session logs is not carried to disk by another."""
_PATIENCE_S = 20.0


class Server:
    """A durable server that can be killed and started again on what it left."""

    def __init__(self, cluster: Cluster, supervisor: Supervisor) -> None:
        assert cluster.pid is not None
        assert cluster.data_dir is not None
        self.cluster = cluster
        self._supervisor = supervisor
        self._data_dir = cluster.data_dir
        self._postmaster = psutil.Process(cluster.pid)
        self._command = self._postmaster.cmdline()
        self._again: subprocess.Popen[bytes] | None = None
        self.address = cluster.create_database("keeper").admin_dsn

    def kill(self) -> None:
        """SIGKILL to all of its processes at once: nobody gets to say goodbye, or to write anything down."""
        processes = [self._postmaster, *self._postmaster.children(recursive=True)] if self._runs() else []
        for process in processes:
            process.kill()
        _, alive = psutil.wait_procs(processes, _PATIENCE_S)
        assert not alive

    def start(self) -> None:
        """Start it again; it recovers from its log."""
        owner = self._data_dir.stat()
        account: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        with (self._data_dir.parent / "again.log").open("ab") as log:
            self._again = subprocess.Popen(
                self._command,
                **account,
                env={**kept, "LC_ALL": "C", **self._supervisor.marker},
                cwd=self._data_dir.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._postmaster = psutil.Process(self._again.pid)
        wait_until(lambda: self._answers() or not self._runs())
        assert self._runs(), (self._data_dir.parent / "again.log").read_text()

    def revive(self) -> None:
        """Wait until it has recovered by itself, or gave up: then start it again."""
        wait_until(lambda: self._answers() or not self._runs())
        if not self._runs():
            self.start()

    def stop(self) -> None:
        """End the one that was started again."""
        if self._again is not None:
            self._again.send_signal(signal.SIGINT)
            self._again.wait(_PATIENCE_S)

    def ask(self, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        """As its superuser."""
        with psycopg.connect(self.address, autocommit=True) as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def process(self, backend_type: str) -> psutil.Process:
        """One of its auxiliary processes."""
        ((pid,),) = self.ask("SELECT pid FROM pg_stat_activity WHERE backend_type = %s", backend_type)
        return psutil.Process(pid)

    def _runs(self) -> bool:
        return alive(self._postmaster)

    def _answers(self) -> bool:
        try:
            return bool(self.ask("SELECT 1"))
        except psycopg.OperationalError:
            return False


@contextmanager
def standing(supervisor: Supervisor, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server for the time of the context, durable as a user's is."""
    environ = {name: value for name, value in os.environ.items() if name != DSN_VARIABLE}
    with open_cluster(supervisor, environ=environ, settings={**_QUIET, **(settings or {})}) as cluster:
        server = Server(cluster, supervisor)
        try:
            yield server
        finally:
            server.stop()


def doors(database: Database) -> dict[str, str]:
    """What tells the rig of a database of the user's."""
    return {"RIG_TRUTH_DSN": database.admin_dsn, "RIG_RUNTIME_DSN": database.runtime_dsn}
