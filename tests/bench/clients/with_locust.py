"""locust's FastHttpUser, 50 users in one process without a web UI: its fastest documented form."""

from __future__ import annotations

# locust patches the process when it is imported: it must come first.
from locust import FastHttpUser, constant, task  # isort: skip
from locust.env import Environment  # isort: skip

import sys

import gevent

from tests.bench.clients.clock import Clock
from tests.bench.clients.trial import BODY, CONNECTIONS, HEADERS


class Sender(FastHttpUser):
    """Posts without pause."""

    wait_time = constant(0)
    clock: Clock

    @task
    def send(self) -> None:
        """One request."""
        self.client.post("/x", data=BODY, headers=HEADERS)
        self.clock.count()


def _load(port: int, seconds: float) -> None:
    Sender.host = f"http://127.0.0.1:{port}"
    environment = Environment(user_classes=[Sender])
    runner = environment.create_local_runner()
    Sender.clock = Clock(seconds)
    runner.start(CONNECTIONS, spawn_rate=CONNECTIONS)
    gevent.sleep(seconds)
    Sender.clock.report()
    runner.quit()


if __name__ == "__main__":
    _load(int(sys.argv[1]), float(sys.argv[2]))
