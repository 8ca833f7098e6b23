"""rate-limit: a limit of L on each of N replicas; what does the whole fleet let through?

Each process asks a replica of its own, far faster than the limit. The ledger is what the askers were granted. The cap
is counted over whole windows, from a quiet instant after the start, so that neither a first burst nor where the
target's windows begin changes it: the scope factor is that cap ÷ L, 1 for a shared limit and N for one of each process.
"""

from __future__ import annotations

import http.client
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit, urlunsplit

from rig.errors import ConfigError, Unavailable
from rig.evidence.storm import RATE_LIMIT, Event, StormReport
from rig.machine.ports import free_port
from rig.profile.storms import RateLimit
from rig.storms.command import prepare, standing
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.fleet import Barrier, Fleet
from rig.target.endpoint import Endpoint

REPLICAS = 4
WINDOWS = 2
"""Whole windows that are counted; they begin between half a window and one and a half after the start."""
_KEY = "storms.rate-limit"
_ASK_TIMEOUT_S = 10.0
_READY_S = 20.0
_POLL_S = 0.02
_PAUSE_S = 0.004
"""Between two questions of one process: a limit is exceeded long before a core is full."""


@dataclass(frozen=True, slots=True)
class _Plan:
    replicas: tuple[tuple[Endpoint, str], ...]
    """Where each replica is, and the path to ask."""
    accepted: tuple[int, ...]
    limited: tuple[int, ...]
    for_s: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """One process's answers: when each grant came (ns after the release), and how many there were of the others."""

    granted_ns: tuple[int, ...]
    limited: int
    others: Counter[int]


def rate_limit(environment: StormEnvironment, order: StormOptions, subject: RateLimit) -> StormReport:
    """Let the storm loose."""
    with _replicas(environment, order, subject) as replicas:
        for_s = subject.window_s * (WINDOWS + 1.6)
        plan = _Plan(replicas, subject.accepted, subject.limited, for_s)
        with Fleet(len(replicas), _ask, plan) as fleet:
            fleet.start()
            began_ns = fleet.release()
            members = fleet.collect(for_s + 30.0)
            skew_ns = fleet.skew_ns
    asked = [member.result for member in members if isinstance(member.result, _Asked)]
    grants = [(at_ns, m.number) for m in members if isinstance(m.result, _Asked) for at_ns in m.result.granted_ns]
    environment.keep(RATE_LIMIT, [{"replica": replica, "granted_ns": at_ns} for at_ns, replica in sorted(grants)])
    window_ns = int(subject.window_s * 1e9)
    counted = granted_in_whole_windows(sorted(at_ns for at_ns, _ in grants), window_ns)
    others = sum((one.others for one in asked), Counter[int]())
    return StormReport(
        storm=RATE_LIMIT,
        case=RATE_LIMIT,
        without=order.without,
        processes=len(replicas),
        skew_ns=skew_ns,
        missing=tuple(f"asker {member.number} {member.error}" for member in members if member.error),
        figures={
            "replicas": len(replicas),
            "limit": subject.limit,
            "window_s": subject.window_s,
            "promised": subject.promised,
            "windows": WINDOWS,
            "granted": counted,
            "cap": counted / WINDOWS,
            "scope_factor": round(counted / WINDOWS / subject.limit, 3),
            "asked": sum(len(one.granted_ns) + one.limited + one.others.total() for one in asked),
            "limited": sum(one.limited for one in asked),
            "replicas_that_limited": sum(one.limited > 0 for one in asked),
            "other_statuses": {str(status): count for status, count in sorted(others.items())},
        },
        events=(Event("release", "fleet", began_ns),),
    )


def granted_in_whole_windows(grants_ns: Sequence[int], window_ns: int) -> int:
    """Grants (sorted, ns after the start) in ``WINDOWS`` whole windows from the middle of the longest pause at hand.

    A limiter of fixed windows grants in bursts: an edge within a burst would count more or less of it by chance.
    """
    first, last = window_ns // 2, window_ns * 3 // 2
    edges = [first, *(at_ns for at_ns in grants_ns if first < at_ns < last), last]
    _, begin_ns = max((after - before, (before + after) // 2) for before, after in pairwise(edges))
    return sum(begin_ns <= at_ns < begin_ns + WINDOWS * window_ns for at_ns in grants_ns)


@contextmanager
def _replicas(
    environment: StormEnvironment, order: StormOptions, subject: RateLimit
) -> Iterator[tuple[tuple[Endpoint, str], ...]]:
    """The replicas: those of the profile, or processes that live for the time of the context."""
    if subject.urls:
        yield tuple(_allowed(environment, url) for url in subject.urls)
        return
    assert subject.command is not None  # the profile was validated: it has one of the two
    with ExitStack() as stack:
        database = stack.enter_context(environment.database("limit"))
        environ = environment.environment(subject.env, f"{_KEY}.env", database)
        if subject.prepare is not None:
            prepare(environment.command(subject.prepare, f"{_KEY}.prepare", order.without), environ, f"{_KEY}.prepare")
        replicas = []
        for number in range(order.processes or REPLICAS):
            port = free_port()
            command = environment.command(subject.command, f"{_KEY}.command", order.without, port=str(port))
            log_file = environment.log_file(f"{RATE_LIMIT}-{number}")
            own = {**environ, "REPLICA": str(number)}
            process = stack.enter_context(standing(command, own, log_file, f"{_KEY}.command"))
            replicas.append((Endpoint("127.0.0.1", port), process))
        for endpoint, process in replicas:
            _wait_until_listening(endpoint, process)
        yield tuple((endpoint, subject.path) for endpoint, _ in replicas)


def _allowed(environment: StormEnvironment, url: str) -> tuple[Endpoint, str]:
    """A URL of the profile as endpoint and path; ConfigError names it where it may not be stormed."""
    try:
        parts = urlsplit(url)
        base_url = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        endpoint = Endpoint.parse(base_url, environment.profile.target.ca_file)
        path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        return endpoint.require_allowed(environment.allowed_host), path
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"profile key {_KEY}.urls: {error}") from None


def _wait_until_listening(endpoint: Endpoint, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        if process.poll() is not None:
            raise Unavailable(f"{_KEY}.command ended with exit code {process.returncode}; its log is in the pack")
        try:
            endpoint.connect(1.0).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{_KEY}.command does not listen at {endpoint.url}: {error}; its log is in the pack"
                ) from None
            time.sleep(_POLL_S)


def _ask(number: int, plan: _Plan, barrier: Barrier) -> _Asked:
    """A fleet's work: ask one replica again and again over one connection. OSError where it stops answering."""
    endpoint, path = plan.replicas[number]
    tls = endpoint.tls_context()
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port)
    connection.sock = endpoint.connect(_ASK_TIMEOUT_S, tls)
    began_ns = barrier()
    granted: list[int] = []
    limited = 0
    others: Counter[int] = Counter()
    while (now_ns := time.monotonic_ns() - began_ns) < plan.for_s * 1e9:
        if connection.sock is None:  # it closed; the name is not resolved again
            connection.sock = endpoint.connect(_ASK_TIMEOUT_S, tls)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status in plan.accepted:
            granted.append(now_ns)
        elif answer.status in plan.limited:
            limited += 1
        else:
            others[answer.status] += 1
        time.sleep(_PAUSE_S)
    return _Asked(tuple(granted), limited, others)
