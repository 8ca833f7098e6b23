"""Probes the target's health, readiness and metrics once a second under load, and keeps the responses.

It runs in a thread of the rig's own process, which has nothing else to do during a scenario run. It never judges.
"""

from __future__ import annotations

import threading
import time
from typing import Self

import pandas as pd

from rig.evidence.case import PROBE_COLUMNS
from rig.evidence.pool_metrics import POOL_COLUMNS, sums
from rig.profile import Probes
from rig.target.endpoint import Endpoint
from rig.target.http_probe import HttpProbe, ProbeResponse

EVERY_S = 1.0
_KEPT_BYTES_MOST = 32 << 20
"""So many bytes of metrics are kept."""


class Prober:
    """A context in which the target is probed; ``frame`` has one row per probe (``PROBE_COLUMNS``).

    ``pool`` has what the metrics said of the connection pool (``POOL_COLUMNS``).
    """

    def __init__(self, probes: Probes, endpoint: Endpoint) -> None:
        self._paths = [path for path in (probes.health, probes.ready, probes.metrics) if path is not None]
        self._timeout_s = probes.timeout_s
        self._probe = HttpProbe(endpoint, probes.timeout_s)
        self._rows: list[tuple[int, str, int, int, str]] = []
        self._metrics = probes.metrics
        self._pool_names = probes.pool.names()
        self._pool_rows: list[tuple[int, str, float]] = []
        self.metrics: list[ProbeResponse] = []
        """What the metrics were, as long as there is room."""
        self._kept_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._probe_regularly, name="rig-prober", daemon=True)

    def __enter__(self) -> Self:
        if self._paths:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._paths:
            self._thread.join(len(self._paths) * self._timeout_s + 1)

    def frame(self) -> pd.DataFrame:
        """The probes and their responses so far."""
        return pd.DataFrame(list(self._rows), columns=list(PROBE_COLUMNS))

    def pool(self) -> pd.DataFrame:
        """What the metrics said of the pool so far; empty where the profile does not name its series."""
        return pd.DataFrame(list(self._pool_rows), columns=list(POOL_COLUMNS))

    def _probe_regularly(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            for path in self._paths:
                if self._stop.is_set():
                    return
                self._rows.append(self._probe_once(path))
            due = next_due(due, time.monotonic())

    def _probe_once(self, path: str) -> tuple[int, str, int, int, str]:
        at_ns = time.monotonic_ns()
        response = self._probe.get(path)
        elapsed_ns = time.monotonic_ns() - at_ns
        if response.status and elapsed_ns > self._timeout_s * 1e9:
            return at_ns, path, 0, elapsed_ns, f"answered {response.status}, but later than {self._timeout_s:g} s"
        is_whole = response.is_good and not response.problem
        if path == self._metrics and self._kept_bytes + len(response.body) <= _KEPT_BYTES_MOST:
            self.metrics.append(response)
            self._kept_bytes += len(response.body)
        if path == self._metrics and is_whole:  # half a text would give wrong sums
            read = sums(response.body.decode(errors="replace"), self._pool_names)
            self._pool_rows += [(at_ns + elapsed_ns // 2, what, value) for what, value in read.items()]
        return at_ns, path, response.status, elapsed_ns, response.problem


def next_due(due_s: float, now_s: float) -> float:
    """When the next round is due, after the one that was due at ``due_s``; seconds of one clock. Pure.

    Now, where that time is over. Missed rounds are not made up for: a burst of probes would see one moment only.
    """
    return max(due_s + EVERY_S, now_s)
