"""locust's FastHttpUser, 50 users in one process without a web UI: its fastest documented form.

Arguments: port, seconds, and for an open loop the rate per second; the quantiles are then locust's own.
"""

from __future__ import annotations

# locust patches the process when it is imported: it must come first.
from locust import FastHttpUser, constant, constant_throughput, task  # isort: skip
from locust.env import Environment  # isort: skip

import sys

import gevent

from tests.bench.clients.clock import Clock
from tests.bench.clients.trial import BODY, CONNECTIONS, HEADERS, KNOWN_PATH


class Sender(FastHttpUser):
    """Posts without pause, or at its share of the rate."""

    wait_time = constant(0)
    clock: Clock
    path = "/x"

    @task
    def send(self) -> None:
        """One request."""
        self.client.post(self.path, data=BODY, headers=HEADERS)
        self.clock.count()


def load(sender: type[Sender], port: int, seconds: float, rate_per_s: float | None = None) -> None:
    """Send with the users of a class, and print the figures."""
    sender.host = f"http://127.0.0.1:{port}"
    if rate_per_s is not None:
        sender.wait_time = constant_throughput(rate_per_s / CONNECTIONS)
        sender.path = KNOWN_PATH
    environment = Environment(user_classes=[sender])
    runner = environment.create_local_runner()
    sender.clock = Clock(seconds)
    runner.start(CONNECTIONS, spawn_rate=CONNECTIONS)
    gevent.sleep(seconds)
    total = environment.stats.total
    quantiles = {f"p{q}_ms": total.get_response_time_percentile(q / 100) for q in (50, 99)} if rate_per_s else {}
    sender.clock.report(**quantiles)
    runner.quit()


if __name__ == "__main__":
    load(Sender, int(sys.argv[1]), *(float(word) for word in sys.argv[2:]))
