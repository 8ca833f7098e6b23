"""Locust's own users (``FastHttpUser``), for those who want them: the rig's requests and evidence at locust's speed.

Flow: each user takes the next request of its class from the same blocks as a native worker, sends it through locust's
client, and books a row. Costs some 150 µs of CPU a request where a native worker takes 20. One more thing to know:
geventhttpclient sends a request again when a kept-alive connection turns out to be closed, without saying so.
"""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, task
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment
from locust.event import EventHook
from locust.exception import StopUser

from rig.calibrate.machine import Watch
from rig.calibrate.null import limit_of
from rig.errors import ErrorKind
from rig.evidence.certificate import Certificate, NullTrial
from rig.evidence.locust_run import BlockAccount, WorkerAccount
from rig.evidence.scenario_runs import WorkerReport
from rig.locust_bridge.batches import Allowance, Source, sources_of
from rig.locust_bridge.master_options import Options
from rig.locust_bridge.plan import TIMEOUT_S, Plan
from rig.locust_bridge.tally import METHOD, Tally
from rig.model import RunKey
from rig.profile import bundled_profile, load_profile
from rig.requests.targeter import Credentials
from scenarios.mix import MIX, PERF_GATE

_NULL_TRIALS = 3
_NULL_USERS = 50
_WATCH_S = 0.05


class LocalLoad:
    """The books of locust's own users in one test: the only worker of it, number 0."""

    stop_timeout_s = TIMEOUT_S + 1.0

    def __init__(
        self, plan: Plan, folder: Path, end: Callable[[], None], ceiling_reached: Callable[[], None], *, alone: bool
    ) -> None:
        """``alone``: S8 is all that the test consists of, and ends it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._allowance = Allowance(plan.own_share)
        self._sources = sources_of(plan, MIX, PERF_GATE, folder, self._allowance)
        self._plan = plan
        self._end = end
        self._ceiling_reached = ceiling_reached
        self._alone = alone
        self._begun_s = time.monotonic()
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._watching = gevent.spawn(self._watch)

    def _watch(self) -> None:
        """Sample what is in flight, as a native worker does."""
        looked_ns = time.monotonic_ns()
        while True:
            gevent.sleep(_WATCH_S)
            now_ns = time.monotonic_ns()
            for source in self._sources.values():
                source.look(now_ns - looked_ns)
            looked_ns = now_ns

    def source(self, name: str) -> Source:
        """Where the users of a class get their requests."""
        return self._sources[name]

    def exhausted(self) -> None:
        """A scenario of fixed count has nothing more to send, or nobody has; when it was alone, the test is over."""
        if self._allowance.spent:
            self._ceiling_reached()
            return
        in_flight = sum(block.in_flight for source in self._sources.values() for block in source.blocks)
        if self._alone and not in_flight:
            gevent.spawn(self._end)

    def account(self) -> WorkerAccount:
        """The final account, once all users have stopped."""
        self._watching.kill()
        requests = failures = 0
        ignored = Tally()
        for source in self._sources.values():
            counted, failed = source.tally(ignored)
            requests += counted
            failures += failed
        after = resource.getrusage(resource.RUSAGE_SELF)
        user_s, system_s = after.ru_utime - self._usage.ru_utime, after.ru_stime - self._usage.ru_stime
        wall_s = time.monotonic() - self._begun_s
        usage = WorkerReport(0, 0, 0, 0, 0, 0, 0, user_s, system_s, wall_s, 0.0, 0.0, after.ru_maxrss * 1024)
        blocks: list[BlockAccount] = []
        for source in self._sources.values():
            finished = [block.finish(usage, source.fixed, 0) for block in source.blocks]
            blocks += [account for account in finished if account is not None]
        return WorkerAccount(
            number=0,
            node="locust",
            host=socket.gethostname(),
            pid=os.getpid(),
            reports=1,
            requests=requests,
            failures=failures,
            cpu_s=user_s + system_s,
            wall_s=wall_s,
            blocks=tuple(blocks),
        )

    @staticmethod
    def certify(ask: Callable[..., dict[str, Any]], port: int, options: Options) -> dict[str, Any]:
        """The null benchmark of this very client, and hand it backstage; the figures in words."""
        path = Path(options.profile) if options.profile else bundled_profile()
        profile = load_profile(path)
        secrets = {route.secret: "null-benchmark" for route in profile.routes}
        trials = []
        for number in range(_NULL_TRIALS):
            plan = Plan(
                locust="",
                run=RunKey(0, f"null-{number}", int(time.time())),
                profile=profile,
                url=f"http://127.0.0.1:{port}",
                route=profile.routes[0].name,
                tenant="null",
                credentials={"null": Credentials("null-benchmark", secrets)},
            )
            trials.append(_null_trial(plan, options.settings.null_seconds))
        certificate = Certificate(floor_rps=options.settings.floor_rps, workers=1, trials=tuple(trials))
        reason = explanation = ""
        if certificate.rps < options.settings.floor_rps:
            reason, explanation = limit_of(certificate.median)
        ask("certify", certificate=asdict(certificate) | {"reason": reason, "explanation": explanation})
        return {
            "rps": round(certificate.rps),
            "floor_rps": options.settings.floor_rps,
            "headroom": round(certificate.headroom, 1),
            "client_cpu_us_per_request": round(certificate.median.client_cpu_us_per_request, 1),
            "reason": reason,
            "explanation": explanation,
        }


class StormUser(FastHttpUser):
    """A user of a class of ``scenarios.mix``; its name is the class's."""

    abstract = True
    network_timeout = TIMEOUT_S
    connection_timeout = TIMEOUT_S
    insecure = False  # locust's default asks for no certificate

    def __init__(self, environment: Environment) -> None:
        bridge = environment.rig  # type: ignore[attr-defined]  # set by the bridge, which locust does not know
        if bridge.test is None or bridge.test.local is None:
            raise StopUser
        self._load: LocalLoad = bridge.test.local
        self._plan: Plan = bridge.test.plan
        # Whatever the start form or --host says: only this host was checked. The requests have the base path already.
        endpoint = replace(self._plan.endpoint, base_path="")
        self.host = endpoint.url
        self.ssl_context_factory = endpoint.tls_context
        super().__init__(environment)
        self._source = self._load.source(type(self).__name__)
        self._due_ns = 0

    def wait_time(self) -> float:
        """How long until the next request is due (s); 0 in the closed loop."""
        return max(0, self._due_ns - time.monotonic_ns()) / 1e9

    @task
    def send(self) -> None:
        """Send the next request of the class."""
        block = self._source.current()
        if block is None:
            self._load.exhausted()
            raise StopUser
        seq, request = block.take(int(time.time()))
        path, headers, body = taken_apart(request)
        intended_ns = sent_ns = time.monotonic_ns()
        assert self.environment.runner is not None
        if period_ns := self._plan.period_ns(self.environment.runner.user_count):
            intended_ns = min(self._due_ns or sent_ns, sent_ns)
            self._due_ns = intended_ns + period_ns
        status, kind = 0, ErrorKind.ABORTED  # what it stays when the user is killed in mid-request
        try:
            with self.client.request(
                METHOD,
                path,
                name=block.name,
                data=body,  # type: ignore[arg-type]  # it takes bytes, and sends them as they are
                headers=headers,
                allow_redirects=False,
                catch_response=True,
            ) as response:
                status, kind = response.status_code or 0, _kind(response)
                response.request_meta["response_time"] += (sent_ns - intended_ns) / 1e6  # since it was due (ms)
                if kind is ErrorKind.NONE and status in block.good(seq):
                    response.success()
                else:
                    response.failure(f"status {status}" if kind is ErrorKind.NONE else kind.name.lower())
        finally:
            block.add(seq, intended_ns, sent_ns, time.monotonic_ns(), id(self) & 0xFFFF, status, kind)


def taken_apart(request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Path, headers and body of a request as the targeter makes it; the headers that the client sets itself go."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    for own in ("Host", "Content-Length"):
        headers.pop(own, None)
    return first.split(" ")[1], headers, body


def _kind(response: Any) -> ErrorKind:
    """Why there is no answer, NONE when there is one."""
    error = getattr(response, "error", None)
    if response.status_code:
        return ErrorKind.NONE
    if isinstance(error, ConnectionRefusedError):
        return ErrorKind.CONNECT
    return ErrorKind.TIMEOUT if isinstance(error, TimeoutError) else ErrorKind.CONNECTION_LOST


def _null_trial(plan: Plan, seconds: float) -> NullTrial:
    """So many users send for so long to the stub, each on a connection of its own."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rig-null-") as folder:
        source = sources_of(plan, MIX, PERF_GATE, Path(folder), Allowance(plan.own_share))["S2Unique"]
        watch, usage, begun_s = Watch(), resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        counts = [0, 0]

        def use() -> None:
            session = FastHttpSession(plan.url, EventHook(), user=None, max_retries=0)
            while time.monotonic() - begun_s < seconds:
                block = source.current()
                assert block is not None
                seq, request = block.take(int(time.time()))
                path, headers, body = taken_apart(request)
                sent_ns = time.monotonic_ns()
                response = session.request(METHOD, path, data=body, headers=headers)  # type: ignore[arg-type]
                status = response.status_code or 0
                block.add(seq, sent_ns, sent_ns, time.monotonic_ns(), 0, status, ErrorKind.NONE)
                counts[status != 200] += 1

        gevent.joinall([gevent.spawn(use) for _ in range(_NULL_USERS)], raise_error=True)
        elapsed_s = time.monotonic() - begun_s
        after, machine = resource.getrusage(resource.RUSAGE_SELF), watch.since()
        cpu_s = after.ru_utime - usage.ru_utime + after.ru_stime - usage.ru_stime
        good, bad = counts
        us = cpu_s / max(1, good + bad) * 1e6
        return NullTrial(
            rps=good / elapsed_s,
            elapsed_s=elapsed_s,
            requests=good + bad,
            failures=bad,
            client_cpu_us_per_request=us,
            client_all_in_us_per_request=us,
            worker_utilisation=cpu_s / elapsed_s,
            stub_utilisation=0.0,
            stalled=0.0,
            cores_busy=machine.cores_busy,
            steal=machine.steal,
            throttled_s=machine.throttled_s,
        )
