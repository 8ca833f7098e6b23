"""A PostgreSQL that is stopped and started again on its port and its data, as an administrator would."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from rig.machine.processes import alive
from rig.target.postgres import Cluster
from tests.waiting import wait_until


class Restartable:
    """The server of a cluster; what ``start`` starts is ended with the context."""

    def __init__(self, cluster: Cluster) -> None:
        assert cluster.pid is not None
        assert cluster.data_dir is not None
        self._process = psutil.Process(cluster.pid)
        self._command = self._process.cmdline()
        self._account = {"user": self._process.uids().real, "group": self._process.gids().real}
        self._data_dir = cluster.data_dir
        self._started: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        wait_until(lambda: not alive(self._process), what="the server does not stop")

    def start(self) -> None:
        as_before = self._account if psutil.Process().uids().real == 0 else {}
        self._started = subprocess.Popen(
            self._command,
            cwd=self._data_dir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            extra_groups=[] if as_before else None,
            **as_before,
        )
        self._process = psutil.Process(self._started.pid)

    def close(self) -> None:
        if self._started is not None:
            self._started.send_signal(signal.SIGQUIT)
            self._started.wait(15)


@contextmanager
def restartable(cluster: Cluster) -> Iterator[Restartable]:
    server = Restartable(cluster)
    try:
        yield server
    finally:
        server.close()
