"""rate-limit: a limit of L on each of N replicas; what does the whole fleet let through?

Each process asks a replica of its own, far faster than the limit. Where several processes share the port of a replica,
as many ask it, each over a new connection every time: a connection that is kept belongs to one of them. The ledger is
what the processes were granted. The cap is counted over whole windows that begin at a quiet instant after the start. So
neither a first burst nor the place where the target's windows begin changes it. The scope factor is that cap over L: 1
for a shared limit, N for one of each process.
"""

from __future__ import annotations

import http.client
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit, urlunsplit

from rig.errors import ConfigError, Unavailable
from rig.evidence.race_figures import RateLimitFigures
from rig.evidence.storm import StormReport
from rig.machine.child import free_port, wait_until
from rig.profile.storms import RateLimit
from rig.storms.command import run_in_background
from rig.storms.fleet import Barrier
from rig.storms.race_test import RaceTest
from rig.target.endpoint import Endpoint, TlsFiles

REPLICAS = 4
WINDOWS = 2
"""Whole windows that are counted; they begin between half a window and one and a half after the start."""
_REQUEST_TIMEOUT_S = 10.0
_REPORTING_S = 30.0
_READY_S = 20.0
_PAUSE_S = 0.004
"""Between two requests of one process: a limit is exceeded long before a core is full."""


@dataclass(frozen=True, slots=True)
class _Requests:
    """What the members of the fleet ask for, and for how long."""

    replicas: tuple[tuple[Endpoint, str], ...]
    """Where the replica of each member is, and the path to ask."""
    section: RateLimit
    for_s: float


@dataclass(frozen=True, slots=True)
class _Answers:
    """One process's answers: when each grant came (ns after the release), and how many there were of the others."""

    granted_ns: tuple[int, ...]
    limited: int
    others: Counter[int]


def rate_limit(race: RaceTest[RateLimit]) -> StormReport:
    """Run the test."""
    section = race.section
    with _start_replicas(race) as replicas:
        for_s = section.window_s * (WINDOWS + 1.6)
        askers = replicas * section.processes
        run = race.run_fleet(len(askers), _send, _Requests(askers, section, for_s), for_s + _REPORTING_S)
    answers = run.results(_Answers)
    grants = sorted((at_ns, number) for number, one in run.results_by_number(_Answers) for at_ns in one.granted_ns)
    granted = granted_in_whole_windows([at_ns for at_ns, _ in grants], int(section.window_s * 1e9))
    others = sum((one.others for one in answers), Counter[int]())
    figures = RateLimitFigures(
        replicas=len(replicas),
        limit=section.limit,
        window_s=section.window_s,
        promised=section.promised,
        windows=WINDOWS,
        granted=granted,
        cap=granted / WINDOWS,
        scope_factor=round(granted / WINDOWS / section.limit, 3),
        asked=sum(len(one.granted_ns) + one.limited + one.others.total() for one in answers),
        limited=sum(one.limited for one in answers),
        replicas_that_limited=sum(one.limited > 0 for one in answers),
        other_statuses={str(status): count for status, count in sorted(others.items())},
        processes=section.processes,
    )
    return race.report(run, figures, [{"replica": replica, "granted_ns": at_ns} for at_ns, replica in grants])


def granted_in_whole_windows(grants_ns: Sequence[int], window_ns: int) -> int:
    """Grants (sorted, ns after the start) in ``WINDOWS`` whole windows from the middle of the longest pause at hand.

    A limiter of fixed windows grants in bursts: an edge within a burst would count more or less of it by chance.
    """
    first, last = window_ns // 2, window_ns * 3 // 2
    edges = [first, *(at_ns for at_ns in grants_ns if first < at_ns < last), last]
    _, begin_ns = max((after - before, (before + after) // 2) for before, after in pairwise(edges))
    return sum(begin_ns <= at_ns < begin_ns + WINDOWS * window_ns for at_ns in grants_ns)


@contextmanager
def _start_replicas(race: RaceTest[RateLimit]) -> Iterator[tuple[tuple[Endpoint, str], ...]]:
    """The replicas: those of the profile, or processes that live for the time of the context."""
    if race.section.urls:
        yield tuple(_parse_url(race, url) for url in race.section.urls)
        return
    with ExitStack() as stack:
        prepared = stack.enter_context(race.database("limit"))
        replicas = []
        for number in range(race.options.processes or REPLICAS):
            port = free_port()
            command = race.command("command", port=str(port))
            log_file = race.environment.log_file(f"{race.name}-{number}")
            environ = {**prepared.environ, "REPLICA": str(number)}
            process = stack.enter_context(run_in_background(command, environ, log_file, race.key("command")))
            replicas.append((Endpoint("127.0.0.1", port), process))
        for endpoint, process in replicas:
            _wait_until_listening(race, endpoint, process)
        yield tuple((endpoint, race.section.path) for endpoint, _ in replicas)


def _parse_url(race: RaceTest[RateLimit], url: str) -> tuple[Endpoint, str]:
    """A URL of the profile as endpoint and path; ConfigError names it where the rig may not send to it."""
    try:
        parts = urlsplit(url)
        base_url = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        endpoint = Endpoint.parse(base_url, TlsFiles.of(race.environment.profile.target))
        path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        return endpoint.check_and_pin(race.environment.allowed_host), path
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"profile key {race.key('urls')}: {error}") from None


def _wait_until_listening(race: RaceTest[RateLimit], endpoint: Endpoint, process: subprocess.Popen[bytes]) -> None:
    def is_listening() -> bool:
        with suppress(OSError):
            endpoint.connect(1.0).close()
            return True
        return False

    if wait_until(is_listening, process, _READY_S):
        return
    ended = f"ended with exit code {process.returncode}"
    wrong = f"does not listen at {endpoint.url}" if process.poll() is None else ended
    raise Unavailable(f"{race.key('command')} {wrong}; its log is in the pack")


def _send(number: int, requests: _Requests, barrier: Barrier) -> _Answers:
    """A fleet's work: ask one replica again and again. OSError where it stops answering."""
    endpoint, path = requests.replicas[number]
    section = requests.section
    tls = endpoint.tls_context()
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port)
    connection.sock = endpoint.connect(_REQUEST_TIMEOUT_S, tls)
    began_ns = barrier()
    granted: list[int] = []
    limited = 0
    others: Counter[int] = Counter()
    while (now_ns := time.monotonic_ns() - began_ns) < requests.for_s * 1e9:
        if connection.sock is None:  # it closed; the name is not resolved again
            connection.sock = endpoint.connect(_REQUEST_TIMEOUT_S, tls)
        connection.request(section.method, path, headers=section.headers)
        answer = connection.getresponse()
        answer.read()
        if section.processes > 1:
            connection.close()
        if answer.status in section.accepted:
            granted.append(now_ns)
        elif answer.status in section.limited:
            limited += 1
        else:
            others[answer.status] += 1
        time.sleep(_PAUSE_S)
    return _Answers(tuple(granted), limited, others)
