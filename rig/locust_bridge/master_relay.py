"""A locust master that leads no users: it hands messages on between native workers and the rig's own process.

``python -m rig.locust_bridge.master_relay HOST PORT`` is a child of that process (``native_workers``), because
``import locust`` patches the one that does it. Locust's master takes the workers in, hears their heartbeats and notices
who is gone. Messages are msgpack triples ``(type, data, node)`` on standard input and output; besides those of the
workers there are ``LISTENS`` once, ``JOINED`` and ``GONE``. It ends, and tells its workers to quit, when its standard
input closes. The key of the workers is in the environment.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import gevent
import locust
import msgpack
from gevent.os import tp_read, tp_write
from gevent.queue import Queue
from locust.env import Environment
from locust.exception import RPCError
from locust.runners import STATE_MISSING, MasterRunner

from rig.errors import ExitCode
from rig.locust_bridge import wire
from rig.locust_bridge.keys import WORKER_KEY, take_key
from rig.locust_bridge.master_server import answer_sign_of_life, require_key, tell_time
from rig.machine.open_files import raise_limit

_LOOK_S = 0.1
_READ_BYTES = 1 << 16


class MasterRelay:
    """Both ends, and who is there."""

    def __init__(self, runner: MasterRunner, output: int) -> None:
        self._runner = runner
        self._output = output
        self._waiting: Queue[bytes] = Queue()
        self._present: set[str] = set()
        runner.register_message(wire.CLOCK, lambda msg, **_: tell_time(runner, msg))
        for kind in (wire.CERTIFICATE, wire.READY, wire.ROWS, wire.LOADED, wire.FAILED):
            runner.register_message(kind, self._hand_on)

    def run(self) -> None:
        """Until standard input closes."""
        tasks = [gevent.spawn(self._write), gevent.spawn(self._watch)]
        self._say(wire.LISTENS)
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        while data := tp_read(0, _READ_BYTES):
            unpacker.feed(data)
            for kind, content, node in unpacker:
                self._runner.send_message(kind, content, client_id=node)
        gevent.killall(tasks)

    def _say(self, kind: str, data: Any = None, node: str = "") -> None:
        self._waiting.put(msgpack.packb((kind, data, node)))

    def _hand_on(self, msg: Any, **_: Any) -> None:
        answer_sign_of_life(self._runner, msg.node_id)
        self._say(msg.type, msg.data, msg.node_id)

    def _write(self) -> None:
        """By a thread: whoever reads slowly must not stop the heartbeats."""
        while True:
            data = memoryview(self._waiting.get())
            while data:
                data = data[tp_write(self._output, data) :]

    def _watch(self) -> None:
        while True:
            present = {node.id for node in self._runner.clients.values() if node.state != STATE_MISSING}
            for node in present - self._present:
                self._say(wire.JOINED, None, node)
            for node in self._present - present:
                self._say(wire.GONE, None, node)
            self._present = present
            gevent.sleep(_LOOK_S)


def main() -> int:
    """Hand messages on; the exit code."""
    if not locust.__version__.startswith(f"{wire.PROTOCOL}."):
        sys.stderr.write(f"this is locust {locust.__version__}; the rig speaks the protocol of {wire.PROTOCOL}\n")
        return ExitCode.CONFIG
    host, port = sys.argv[1], int(sys.argv[2])
    output = os.dup(1)
    os.dup2(2, 1)  # whoever prints by accident must not be taken for a worker
    raise_limit()
    require_key(take_key(WORKER_KEY))
    try:
        runner = Environment().create_master_runner(host, port)
    except RPCError as error:
        sys.stderr.write(f"a locust master cannot listen at {host}:{port}: {error}\n")
        return ExitCode.USAGE
    MasterRelay(runner, output).run()
    runner.quit()
    return ExitCode.PASS


if __name__ == "__main__":
    sys.exit(main())
