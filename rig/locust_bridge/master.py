"""What of the rig runs inside locust's own process: options, the master's side of the conversation, the exit code.

Flow: ``install`` hooks into locust's events. At start a backstage process is opened; ``test_start`` asks it for a plan
and hands it out; ``test_stop`` collects the workers' accounts, has everything judged backstage, and takes the exit code
from the verdict. Native workers do the load of a ``--master``; locust alone does its own (``master_users``).
Nothing here touches PostgreSQL, an event loop or a judgement: ``import locust`` has patched this process.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gevent
import locust
from locust.env import Environment
from locust.exception import StopTest
from locust.runners import STATE_MISSING, STATE_SPAWNING, LocalRunner, MasterRunner, WorkerRunner
from pydantic import TypeAdapter, ValidationError

from rig.accounts import MasterAccount, WorkerAccount, WorkerSeen
from rig.errors import ExitCode
from rig.evidence.pack import Pack
from rig.locust_bridge.clock import boot_id
from rig.locust_bridge.master_options import options_of
from rig.locust_bridge.master_users import LocalLoad
from rig.locust_bridge.plan import Plan
from rig.locust_bridge.wire import CLOCK, FINISH, PLAN, PROTOCOL, REPORT, ROWS
from scenarios.mix import PERF_GATE

ACCOUNTS_S = 60.0
"""After the requests in flight have had their time, so long may the accounts take."""
_POLL_S = 0.05
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ACCOUNT = TypeAdapter(WorkerAccount)
_BOOKS = TypeAdapter(MasterAccount)
_WORST = (ExitCode.FAIL, ExitCode.INVALID, ExitCode.INTERRUPTED, ExitCode.BELOW_FLOOR, ExitCode.PASS)

_log = logging.getLogger("rig")


class StageError(Exception):
    """Backstage refused; ``exit_code`` is how the process should end."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Stage:
    """The line to the backstage process. Its stdin is its lifeline: it ends when this process does."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rig.locust_bridge.backstage"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lock = threading.Lock()

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """One question, one answer; StageError when it is an error or there is none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            try:
                self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except OSError as error:
                line = ""
                _log.error("backstage: %s", error)
        if not line:
            raise StageError("the backstage process is gone", ExitCode.INTERNAL)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise StageError(answer["error"], answer["exit_code"])
        return answer

    @property
    def busy(self) -> bool:
        """True while a question is being answered."""
        return self._lock.locked()

    def close(self) -> None:
        """End it, and all that it started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass(slots=True)
class Seen:
    """What is known of one worker while its test goes on."""

    number: int
    node: str
    reports: int = 0
    requests: int = 0
    failures: int = 0
    announced: Mapping[str, int] = field(default_factory=dict)
    lost: str = ""
    accounted: bool = False

    def frozen(self) -> WorkerSeen:
        """For the books."""
        return WorkerSeen(
            self.number, self.node, self.reports, self.requests, self.failures, dict(self.announced), self.lost
        )


@dataclass(slots=True)
class Test:
    """One test, from its start to its verdict."""

    pack: Pack
    plan: Plan
    alone: bool
    workers: dict[str, Seen] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    local: LocalLoad | None = None
    over: bool = False


class Bridge:
    """The rig in one locust process."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.options = options_of(environment)
        assert environment.runner is not None
        self.runner = environment.runner
        self.native = isinstance(self.runner, MasterRunner)
        self.stage = Stage()
        self.test: Test | None = None
        self.results: list[dict[str, Any]] = []
        self.status = "ready"
        opened = self.stage.ask(
            "open", client="native" if self.native else "locust", argv=sys.argv, **self.options.session
        )
        environment.host = opened["url"]
        self.certificate: dict[str, Any] | None = opened["certificate"]
        if not self.native:
            self.certificate = LocalLoad.certify(self.stage.ask, opened["null_port"], self.options)
        if self.certificate and self.certificate["reason"]:
            raise StageError(
                f"the client is below the null floor ({self.certificate['rps']} of {self.certificate['floor_rps']:g} "
                f"requests/s): {self.certificate['reason']}: {self.certificate['explanation']}",
                ExitCode.BELOW_FLOOR,
            )
        self._listen()

    def _listen(self) -> None:
        events = self.environment.events
        events.test_start.add_listener(self._guarded(self._started, begins=True))
        events.test_stop.add_listener(self._guarded(self._stopped))
        events.quit.add_listener(lambda **_: self.stage.close())
        events.reset_stats.add_listener(lambda **_: self._note("the statistics were reset by hand in mid-run"))
        if isinstance(self.runner, MasterRunner):
            events.worker_report.add_listener(self._reported)
            events.worker_connect.add_listener(self._connected)
            self.runner.register_message(CLOCK, self._asked_for_time)
            self.runner.register_message(ROWS, self._rows_came)
            self.runner.register_message(REPORT, self._account_came)

    def _guarded(self, step: Callable[[], None], *, begins: bool = False) -> Callable[..., None]:
        """Locust swallows what a listener raises; this keeps it, ends the test and the exit code says it.

        A test that cannot begin sends nothing: StopTest is the one exception that locust lets through.
        """

        def run(**_: Any) -> None:
            try:
                step()
            except StageError as error:
                self._fail(str(error), error.exit_code)
            except Exception as error:  # a bug of the bridge must not end in locust's own exit code, 0 or 1
                _log.exception("a fault of the rig itself")
                self._fail(f"{type(error).__name__}: {error}", ExitCode.INTERNAL)
            if begins and self.test is None:
                raise StopTest(self.status)

        return run

    def _fail(self, text: str, exit_code: int) -> None:
        _log.error("rig: %s", text)
        self.status = text
        self.environment.process_exit_code = exit_code
        self.test = None
        gevent.spawn(self._end)

    def _end(self) -> None:
        assert self.runner is not None
        options = self.environment.parsed_options
        if options is not None and options.headless:
            self.runner.quit()
        else:
            self.runner.stop()

    def _note(self, text: str) -> None:
        if self.test is not None:
            self.test.notes.append(text)

    # --- a test begins ---

    def _started(self) -> None:
        self.status = "preparing"
        # Locust says so only after this; until then its page would take the test for one that never began.
        self.runner.update_state(STATE_SPAWNING)
        names = [each.__name__ for each in self.environment.user_classes]
        nodes = [node.id for node in self.runner.clients.ready] if isinstance(self.runner, MasterRunner) else []
        alone = names == [PERF_GATE]
        answer = self.stage.ask(
            "begin",
            locust=locust.__version__,
            alone=alone,
            client_pids=_local_pids(nodes),
            fixed_requests=self.options.fixed_requests if PERF_GATE in names else 0,
            **self.options.test,
        )
        plan = Plan.from_wire(answer["plan"])
        test = Test(Pack(Path(answer["pack"])), plan, alone)
        for number, node in enumerate(nodes):
            test.workers[node] = Seen(number, node)
            self._hand_out(test, node, plan.of_worker(number, len(nodes)))
        if not self.native:
            test.local = LocalLoad(plan, test.pack.history_folder / ".raw", self._end)
            test.workers["locust"] = Seen(0, "locust", reports=1)
        self.test = test
        self.status = "running"

    def _hand_out(self, test: Test, node: str, plan: Plan) -> None:
        assert isinstance(self.runner, MasterRunner)
        self.runner.send_message(PLAN, plan.to_wire(), client_id=node)

    def _connected(self, client_id: str, **_: Any) -> None:
        """A worker that comes while a test goes on takes part, but has no share of what is counted out already."""
        test = self.test
        if test is None or client_id in test.workers:
            return
        number = len(test.workers)
        test.workers[client_id] = Seen(number, client_id)
        self._hand_out(test, client_id, replace(test.plan.of_worker(number, number + 1), fixed=None))

    # --- what the workers say ---

    def _reported(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        test = self.test
        seen = test.workers.get(client_id) if test else None
        said = data.get("rig")
        if test is None or seen is None or said is None:
            return
        seen.reports += 1
        if seen.reports != said["sequence"]:
            _log.warning("worker %d: report %d came as number %d", seen.number, said["sequence"], seen.reports)
        seen.announced = said["announced"]
        seen.requests += data["stats_total"]["num_requests"]
        seen.failures += data["stats_total"]["num_failures"]
        self._end_if_done(test)

    def _end_if_done(self, test: Test) -> None:
        """A test that consists of a fixed number of requests is over when they are."""
        if test.alone and not test.over and test.plan.fixed is not None:
            done = sum(seen.requests for seen in test.workers.values())
            if done >= test.plan.fixed.count:
                test.over = True
                gevent.spawn(self._end)

    def _asked_for_time(self, msg: Any, **_: Any) -> None:
        assert isinstance(self.runner, MasterRunner)
        answer = {"sent_ns": msg.data["sent_ns"], "master_ns": time.monotonic_ns(), "boot_id": boot_id()}
        self.runner.send_message(CLOCK, answer, client_id=msg.node_id)

    def _rows_came(self, msg: Any, **_: Any) -> None:
        test = self.test
        seen = test.workers.get(msg.node_id) if test else None
        label = str(msg.data["label"])
        if test is None or seen is None or msg.data["worker"] != seen.number or not _LABEL.fullmatch(label):
            _log.warning("rows of an unknown worker or block were thrown away")
            return
        with (test.pack.history_folder / ".raw" / f"{label}.{seen.number}.rows").open("ab") as rows:
            rows.write(msg.data["data"])

    def _account_came(self, msg: Any, **_: Any) -> None:
        test = self.test
        seen = test.workers.get(msg.node_id) if test else None
        if test is None or seen is None:
            _log.warning("the account of an unknown worker was thrown away")
            return
        try:
            account = _ACCOUNT.validate_python(msg.data)
        except ValidationError as error:
            seen.lost = f"its account cannot be read: {error.error_count()} faults"
            return
        if account.number != seen.number:
            seen.lost = f"its account is that of worker {account.number}"
            return
        test.pack.write_crowd(account)
        seen.accounted = True

    # --- a test ends ---

    def _stopped(self) -> None:
        test = self.test
        if test is None:
            return
        self.status = "collecting the workers' accounts"
        if test.local is not None:
            account = test.local.account()
            test.pack.write_crowd(account)
            seen = test.workers["locust"]
            seen.requests, seen.failures, seen.accounted = account.requests, account.failures, True
        else:
            self._collect(test)
        self.status = "reading the truth"
        assert self.runner is not None
        total = self.runner.stats.total
        books = MasterAccount(
            client="native" if self.native else "locust",
            workers=tuple(seen.frozen() for seen in test.workers.values()),
            requests=total.num_requests,
            failures=total.num_failures,
            route=test.plan.route,
            tenant=test.plan.tenant,
            timeout_s=test.plan.timeout_s,
            fixed=test.plan.fixed,
            notes=tuple(test.notes),
        )
        result = self.stage.ask("finish", account=_BOOKS.dump_python(books, mode="json"))
        self.test = None
        self.results.append(result)
        self.environment.process_exit_code = _worse(self.environment.process_exit_code, result["exit_code"])
        self.status = f"{result['verdict']}: {result['sentence']}"
        _log.info("rig: %s", self.status)
        _log.info("rig: evidence in %s (SHA256SUMS %s)", result["pack"], result["digest"])

    def _collect(self, test: Test) -> None:
        """Have every worker finish, and wait for the accounts of all but those that are gone."""
        assert isinstance(self.runner, MasterRunner)
        for node in list(self.runner.clients):
            if node in test.workers and not test.workers[node].accounted:
                self.runner.send_message(FINISH, client_id=node)
        deadline = time.monotonic() + test.plan.timeout_s + ACCOUNTS_S
        while waiting := [seen for seen in test.workers.values() if not seen.accounted and not seen.lost]:
            for seen in waiting:
                node = self.runner.clients.get(seen.node)
                if node is None:
                    seen.lost = "left without a final account"
                elif node.state == STATE_MISSING:
                    seen.lost = "died or was cut off: it has not been heard for seconds"
                elif time.monotonic() > deadline:
                    seen.lost = "gave no final account within its time"
            gevent.sleep(_POLL_S)


def _local_pids(nodes: list[str]) -> list[int]:
    """Process ids of the workers on this host, as their names tell (``rig.locust_bridge.wire``)."""
    here = f"{socket.gethostname()}_rig_"
    return [int(node.removeprefix(here).split("_")[0]) for node in nodes if node.startswith(here)]


def _worse(before: int | None, now: int) -> int:
    """Of several tests the worst decides how the process ends."""
    codes = [code for code in (before, now) if code is not None]
    ranked = [code for code in _WORST if code in codes]
    return int(ranked[0]) if ranked else now


def install(events: Any) -> None:
    """Hook the rig into locust; called by the locustfile."""

    @events.init.add_listener  # type: ignore[untyped-decorator]  # locust's events are untyped
    def _init(environment: Environment, **_: Any) -> None:
        if not locust.__version__.startswith(f"{PROTOCOL}."):
            _log.error("rig: this is locust %s; the rig speaks the protocol of %s", locust.__version__, PROTOCOL)
            sys.exit(ExitCode.CONFIG)
        if isinstance(environment.runner, WorkerRunner):
            _log.error("rig: a worker of this locustfile is native: run `rig worker --master HOST` instead")
            sys.exit(ExitCode.USAGE)
        options = options_of(environment)
        if not options.fixed_wanted:
            environment.user_classes = [each for each in environment.user_classes if each.__name__ != PERF_GATE]
        if isinstance(environment.runner, LocalRunner) and not environment.stop_timeout:
            # Else locust kills its users in mid-request, and nobody knows what became of it.
            environment.stop_timeout = LocalLoad.stop_timeout_s
        try:
            bridge = Bridge(environment)
        except StageError as error:
            _log.error("rig: %s", error)
            sys.exit(error.exit_code)
        if environment.web_ui is not None:
            from rig.locust_bridge.master_ui import add_tabs

            add_tabs(environment.web_ui, bridge)
        environment.rig = bridge  # type: ignore[attr-defined]  # where the users of this process find it
