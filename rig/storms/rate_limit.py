"""rate-limit: a limit of L on each of N replicas; what does the whole fleet let through?

Each process asks a replica of its own, far faster than the limit. Where several processes share the port of a replica,
as many ask it, each over a new connection every time: a connection that is kept belongs to one of them. The ledger is
what the processes were granted. The cap is counted over whole windows that begin at a quiet instant after the start. So
neither a first burst nor the place where the target's windows begin changes it. The scope factor is that cap over L: 1
for a shared limit, N for one of each process.

The system chooses which of several processes a connection reaches. Where one of them answers all, a limit of each looks
like a shared one. So the rig notes who answers: by a header of the profile, or by the process that has the other end of
the connection open.

The first moments have a limit of their own: a fleet in which each replica begins with an empty counter lets through too
much before its counters meet. In no time as long as a window may it let through more than the limit and a burst.
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit, urlunsplit

from rig.checks.race_tests.rate_limit import RateLimitFigures
from rig.errors import ConfigError, Unavailable
from rig.evidence.storm import StormReport
from rig.machine.child import free_port, is_listening, wait_until
from rig.machine.processes import children
from rig.machine.sockets import find_process
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
_LOOK_EVERY = 4
"""One request in so many is watched for the process that takes it, which costs a millisecond."""
_ACCEPTED_S = 0.02
"""A process takes a connection up in that time, unless it is busy."""
_READ_EVERY_S = 0.5
"""How often it is looked for new processes, where a connection is held by none of those that are known."""


@dataclass(frozen=True, slots=True)
class _Replica:
    """Where a replica is, the path to ask, and its process where the rig started it."""

    endpoint: Endpoint
    path: str
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class _Requests:
    """What the members of the fleet ask for, and for how long."""

    replicas: tuple[_Replica, ...]
    """The replica of each member."""
    section: RateLimit
    for_s: float


@dataclass(frozen=True, slots=True)
class _Answers:
    """One process's answers: when each grant came (ns after the release), and how many there were of the others.

    ``answered``: by process of the target, the answers that were seen to be its own.
    """

    granted_ns: tuple[int, ...]
    limited: int
    others: Counter[int]
    answered: Counter[str]

    @property
    def total(self) -> int:
        return len(self.granted_ns) + self.limited + self.others.total()


def rate_limit(race: RaceTest[RateLimit]) -> StormReport:
    """Run the test."""
    section = race.section
    with _start_replicas(race) as (replicas, started):
        for_s = section.window_s * (WINDOWS + 1.6)
        askers = replicas * section.processes
        run = race.run_fleet(len(askers), _send, _Requests(askers, section, for_s), for_s + _REPORTING_S)
        ended = {f"replica {number}": code for number, one in enumerate(started) if (code := one.poll()) is not None}
    answers = run.results(_Answers)
    grants = sorted((at_ns, number) for number, one in run.results_by_number(_Answers) for at_ns in one.granted_ns)
    granted = granted_in_whole_windows([at_ns for at_ns, _ in grants], int(section.window_s * 1e9))
    others = sum((one.others for one in answers), Counter[int]())
    is_seen = section.processes > 1 or section.process_header is not None
    answered = sum((one.answered for one in answers), Counter[str]())
    asked = sum(one.total for one in answers)
    figures = RateLimitFigures(
        replicas=len(replicas),
        limit=section.limit,
        window_s=section.window_s,
        promised=section.promised,
        windows=WINDOWS,
        granted=granted,
        cap=granted / WINDOWS,
        scope_factor=round(granted / WINDOWS / section.limit, 3),
        asked=asked,
        limited=sum(one.limited for one in answers),
        replicas_that_limited=sum(one.limited > 0 for one in answers),
        other_statuses={str(status): count for status, count in sorted(others.items())},
        processes=section.processes,
        answered=dict(answered.most_common()) if is_seen else None,
        scope_factor_of_each=scope_factor_of_each(answered, asked * section.window_s / for_s, section.limit)
        if is_seen
        else None,
        most_in_a_window=most_in_a_window([at_ns for at_ns, _ in grants], int(section.window_s * 1e9)),
        burst=section.burst,
        ended=ended,
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


def most_in_a_window(grants_ns: Sequence[int], window_ns: int) -> int:
    """The most grants (sorted, ns) in any time as long as a window."""
    return max((at + 1 - bisect_left(grants_ns, ns - window_ns + 1) for at, ns in enumerate(grants_ns)), default=0)


def scope_factor_of_each(answered: Mapping[str, int], asked_a_window: float, limit: int) -> float:
    """The scope factor of a fleet in which each process has the limit for itself, by its share in the answers."""
    shares = [count / sum(answered.values()) for count in answered.values()]
    return round(sum(min(limit, share * asked_a_window) for share in shares) / limit, 3)


@contextmanager
def _start_replicas(
    race: RaceTest[RateLimit],
) -> Iterator[tuple[tuple[_Replica, ...], Sequence[subprocess.Popen[bytes]]]]:
    """The replicas: those of the profile, or processes that live for the time of the context, and these."""
    if race.section.urls:
        yield tuple(_parse_url(race, url) for url in race.section.urls), ()
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
        asked = tuple(_Replica(endpoint, race.section.path, process.pid) for endpoint, process in replicas)
        yield asked, [process for _, process in replicas]


def _parse_url(race: RaceTest[RateLimit], url: str) -> _Replica:
    """A URL of the profile as endpoint and path; ConfigError names it where the rig may not send to it."""
    try:
        parts = urlsplit(url)
        base_url = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        endpoint = Endpoint.parse(base_url, TlsFiles.of(race.environment.profile.target))
        path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        return _Replica(endpoint.check_and_pin(race.environment.allowed_host), path)
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"profile key {race.key('urls')}: {error}") from None


def _wait_until_listening(race: RaceTest[RateLimit], endpoint: Endpoint, process: subprocess.Popen[bytes]) -> None:
    if wait_until(lambda: is_listening(endpoint.port), process, _READY_S):
        return
    ended = f"ended with exit code {process.returncode}"
    wrong = f"does not listen at {endpoint.url}" if process.poll() is None else ended
    raise Unavailable(f"{race.key('command')} {wrong}; its log is in the pack")


def _send(number: int, requests: _Requests, barrier: Barrier) -> _Answers:
    """A fleet's work: ask one replica again and again. OSError where it stops answering."""
    replica, section = requests.replicas[number], requests.section
    endpoint = replica.endpoint
    tls = endpoint.tls_context()
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port)
    connection.sock = endpoint.connect(_REQUEST_TIMEOUT_S, tls)
    began_ns = barrier()
    granted: list[int] = []
    limited = 0
    others: Counter[int] = Counter()
    answered: Counter[str] = Counter()
    is_shared = section.processes > 1 and section.process_header is None
    processes = _Processes(replica.pid) if is_shared and replica.pid is not None else None
    turn = 0
    while (now_ns := time.monotonic_ns() - began_ns) < requests.for_s * 1e9:
        if connection.sock is None:  # it closed; the name is not resolved again
            connection.sock = endpoint.connect(_REQUEST_TIMEOUT_S, tls)
        look = processes.look(endpoint.port, connection.sock) if processes and turn % _LOOK_EVERY == 0 else None
        connection.request(section.method, replica.path, headers=section.headers)
        answer = connection.getresponse()
        answer.read()
        name = look() if look else None
        if section.process_header is not None:
            name = answer.getheader(section.process_header)
        if name:
            answered[name] += 1
        if section.processes > 1:
            connection.close()
        if answer.status in section.accepted:
            granted.append(now_ns)
        elif answer.status in section.limited:
            limited += 1
        else:
            others[answer.status] += 1
        turn += 1
        time.sleep(_PAUSE_S)
    return _Answers(tuple(granted), limited, others, answered)


class _Processes:
    """The processes of a replica: the one that was started, and those that it starts."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._pids: list[int] = []
        self._read_s = 0.0

    def look(self, port: int, connection: socket.socket) -> Callable[[], str | None]:
        """Look which of them takes the connection up; call the answer when the request is answered.

        Before the request: some servers close a connection with the answer. And after it: the first process may accept
        for the others and hand the connection on.
        """
        own_port, until_s = connection.getsockname()[1], time.monotonic() + _ACCEPTED_S
        while (before := find_process(port, own_port, self._pids)) is None and time.monotonic() < until_s:
            if time.monotonic() > self._read_s + _READ_EVERY_S:
                self._read()
            else:
                time.sleep(0.001)

        def who_answered() -> str | None:
            after = find_process(port, own_port, self._pids)
            if after is None and before == self._pid and len(self._pids) > 1:
                return None
            pid = after or before
            return None if pid is None else str(pid)

        return who_answered

    def _read(self) -> None:
        """Read which they are: more may have begun. The first is the last: where it accepts for others, it still has
        the connection open when they have it."""
        self._pids = [*(child.pid for child in children(self._pid, recursive=True)), self._pid]
        self._read_s = time.monotonic()
