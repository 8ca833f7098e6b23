"""What of the rig runs inside locust's own process: options, the master's side of the conversation, the exit code.

Flow: ``install`` hooks into locust's events. At start the coordinator's process is opened; ``test_start`` asks it for a
plan and hands it to the native workers; ``test_stop`` collects their accounts, has the coordinator judge everything,
and takes the exit code from the verdict. Locust started without ``--master`` is a master too: the coordinator starts
one native worker for it. Nothing here touches PostgreSQL, an event loop or a judgement: ``import locust`` has patched
this process.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import gevent
import locust
from locust.env import Environment
from locust.exception import StopTest
from locust.runners import STATE_MISSING, STATE_SPAWNING, MasterRunner
from pydantic import TypeAdapter

from rig.errors import ExitCode, RigError, worst_exit
from rig.evidence.locust_run import MasterAccount
from rig.evidence.pack import Pack
from rig.locust_bridge.keys import MasterKeys
from rig.locust_bridge.master_coordinator import CoordinatorClient, CoordinatorError
from rig.locust_bridge.master_options import Options, SharedScenario, add_options, options_of, started_as
from rig.locust_bridge.master_server import answer_sign_of_life, require_key, tell_time
from rig.locust_bridge.master_test import LocustTest
from rig.locust_bridge.master_users import classes_of
from rig.locust_bridge.plan import LocustPlan, sendable_classes
from rig.locust_bridge.wire import CLOCK, FINISH, PLAN, PROTOCOL, REPORT, ROWS
from rig.machine.open_files import raise_limit
from rig.model import RequestClass, Scenario, UserClass

ACCOUNTS_S = 60.0
"""After the requests in flight have had their time, so long may the accounts take."""
_POLL_S = 0.05
_NOTHING_JUDGED = "rig: it ended before a test had begun: nothing was judged"
_WORKER_START_S = 60.0
_BOOKS = TypeAdapter(MasterAccount)
_FIXED: TypeAdapter[Scenario | None] = TypeAdapter(Scenario | None)
_USER_CLASSES = TypeAdapter(tuple[UserClass, ...])

_log = logging.getLogger("rig")


class Bridge:
    """The rig in one locust process."""

    def __init__(
        self,
        environment: Environment,
        options: Options,
        mix: Sequence[UserClass],
        shared: SharedScenario | None,
        keys: MasterKeys,
    ) -> None:
        assert isinstance(environment.runner, MasterRunner)
        self.environment = environment
        self.runner = environment.runner
        self.options = options
        self._mix = tuple(mix)
        self._fixed_class = shared.user_class if shared is not None else ""
        self.coordinator = CoordinatorClient()
        raise_limit()  # a connection to each worker; after the coordinator's start, which launches the target
        self.test: LocustTest | None = None
        self.examples: Mapping[str, str] = {}
        """Those of the last test (``LocustTest.examples``)."""
        self._beginning: gevent.Greenlet | None = None
        self._judging: gevent.Greenlet | None = None
        self.results: list[dict[str, Any]] = []
        self.status = "ready"
        self.error = ""
        """Why the last test could not be prepared or judged."""
        try:
            self._open(keys)
        except BaseException:
            self.coordinator.close()
            raise
        self._listen()

    def _open(self, keys: MasterKeys) -> None:
        """Have the coordinator open the session; CoordinatorError where nothing can be judged in it."""
        opened = self.coordinator.ask(
            "open",
            argv=sys.argv,
            fixed=self.options.fixed is not None,
            key="" if keys.worker_given or self.options.own_worker else keys.worker,
            port=self.runner.server.port,
            **self.options.session,
        )
        self.environment.host = opened["url"]
        self.on_purpose: str = opened["on_purpose"]
        self._leave_out(opened["sends"])
        self.certificate: dict[str, Any] = opened["certificate"]
        if self.certificate["reason"]:
            raise CoordinatorError(
                f"the client is below the null floor ({self.certificate['rps']} of {self.certificate['floor_rps']:g} "
                f"requests/s): {self.certificate['reason']}: {self.certificate['explanation']}",
                ExitCode.BELOW_FLOOR,
            )
        if self.options.own_worker:
            self._start_worker(keys.worker)

    def _leave_out(self, sends: Mapping[str, Sequence[str]]) -> None:
        """Have no users that the target cannot be sent anything by: its profile has no such bodies."""
        route = self.options.test["route"] or next(iter(sends))
        sent = {each.name for each in sendable_classes(self._mix, set(map(RequestClass, sends.get(route, ()))))}
        chosen = [each.__name__ for each in self.environment.user_classes]
        gone = [each.name for each in self._mix if each.name in chosen and each.name not in sent]
        if route not in sends or not gone:
            return
        if len(gone) == len(chosen):
            raise CoordinatorError(
                f"the profile leaves out {', '.join(gone)}: route {route!r} has no such bodies (routes.malformed, "
                "routes.personal)",
                ExitCode.CONFIG,
            )
        _log.warning("rig: the profile leaves out %s: route %r has no such bodies", ", ".join(gone), route)
        self.environment.user_classes = [each for each in self.environment.user_classes if each.__name__ not in gone]

    def _start_worker(self, key: str) -> None:
        """Have a native worker started on this machine, and wait until it is there."""
        self.coordinator.ask("start_worker", port=self.runner.master_bind_port, key=key)
        deadline = time.monotonic() + _WORKER_START_S
        while not self.runner.clients.ready:
            if time.monotonic() > deadline:
                raise CoordinatorError(
                    f"the native worker did not connect within {_WORKER_START_S:g} s", ExitCode.UNAVAILABLE
                )
            gevent.sleep(_POLL_S)

    def _listen(self) -> None:
        events = self.environment.events
        events.test_start.add_listener(lambda **_: self._start())
        events.test_stop.add_listener(lambda **_: self._conclude())
        events.quitting.add_listener(lambda **_: self._finish_before_quit())
        events.quit.add_listener(lambda **_: self.coordinator.close())
        events.reset_stats.add_listener(lambda **_: self._note("the statistics were reset by hand in mid-run"))
        events.worker_report.add_listener(self._take_report)
        events.worker_connect.add_listener(self._admit_late)
        self.runner.register_message(CLOCK, lambda msg, **_: tell_time(self.runner, msg))
        self.runner.register_message(ROWS, self._take_rows)
        self.runner.register_message(REPORT, self._take_account)

    def _guard(self, step: Callable[[], None]) -> Callable[..., None]:
        """Locust swallows what a listener raises; this keeps it, ends the test and the exit code says it."""

        def run(**_: Any) -> None:
            try:
                step()
            except CoordinatorError as error:
                self._fail(str(error), error.exit_code)
            except Exception as error:  # a bug of the bridge must not end in locust's own exit code, 0 or 1
                _log.exception("a fault of the rig itself")
                self._fail(f"{type(error).__name__}: {error}", ExitCode.INTERNAL)

        return run

    def _fail(self, text: str, exit_code: int) -> None:
        _log.error("rig: %s", text)
        self.status = self.error = text
        self._ends_in(exit_code)
        self.test = None
        gevent.spawn(self._end)

    def _ends_in(self, exit_code: int) -> None:
        """Of several tests the worst decides how the process ends."""
        before = self.environment.process_exit_code
        self.environment.process_exit_code = worst_exit([before or ExitCode.PASS, exit_code])

    def _end(self) -> None:
        assert self.runner is not None
        if self._headless:
            self.runner.quit()
            return
        ui = self.environment.web_ui
        if ui is not None and ui._swarm_greenlet is not None:
            # As the page's own stop does: else a ramp goes on, and calls users to a test that is over.
            ui._swarm_greenlet.kill(batch=True)
            ui._swarm_greenlet = None
        self.runner.stop()

    def _note(self, text: str) -> None:
        if self.test is not None:
            self.test.notes.append(text)

    # --- a test begins ---

    @property
    def busy(self) -> str:
        """Why no test can be begun or changed now; empty where one can."""
        if self._beginning is not None and not self._beginning.ready():
            return "a test is being prepared"
        if self._judging is not None and not self._judging.ready():
            return "the last test is still being judged"
        return ""

    def _start(self) -> None:
        """Have the test prepared; StopTest, the one exception that locust lets through, where it sends nothing.

        In a greenlet of its own: locust kills the one that it starts a test in when somebody presses Stop, and
        half a conversation with the coordinator must not be left. What was stopped meanwhile is judged as what it is.
        """
        self.status, self.error = "preparing", ""
        # Locust says so only after this; until then its page would take the test for one that never began.
        self.runner.update_state(STATE_SPAWNING)
        self._judging = None
        self._beginning = gevent.spawn(self._guard(self._begin))
        self._beginning.join()
        if self.test is None or self.runner.state != STATE_SPAWNING:
            raise StopTest(self.status)

    def _begin(self) -> None:
        names = [each.__name__ for each in self.environment.user_classes]
        alone = names == [self._fixed_class]
        users, nodes = self.runner.target_user_count, self._ready_nodes()
        if alone and users < len(nodes):
            raise CoordinatorError(
                f"{self._fixed_class} alone shares its requests out among {len(nodes)} workers, and {users} users "
                f"cannot send them all; start {len(nodes)} users at least",
                ExitCode.USAGE,
            )
        answer = self.coordinator.ask(
            "begin",
            locust=locust.__version__,
            alone=alone,
            client_pids=_local_pids(nodes),
            master_pid=os.getpid(),
            user_classes=_USER_CLASSES.dump_python(self._mix, mode="json"),
            fixed_class=self._fixed_class,
            fixed=_FIXED.dump_python(self.options.fixed if self._fixed_class in names else None, mode="json"),
            users=users,
            workers=max(1, len(nodes)),
            **self.options.test,
        )
        plan = LocustPlan.from_wire(answer["plan"])
        test = LocustTest(Pack(Path(answer["pack"])), plan, alone)
        nodes = self._ready_nodes()  # who came meanwhile was given users by locust, and needs a plan
        for number, node in enumerate(nodes):
            own = plan.of_worker(number, len(nodes))
            test.add_worker(node, own.fixed_share)
            self._hand_out(node, own)
        self.test, self.examples = test, test.examples
        self.status = "running"

    def _ready_nodes(self) -> list[str]:
        return [node.id for node in self.runner.clients.ready]

    def _hand_out(self, node: str, plan: LocustPlan) -> None:
        self.runner.send_message(PLAN, plan.to_wire(), client_id=node)

    def _admit_late(self, client_id: str, **_: Any) -> None:
        """A worker that comes while a test goes on takes part, but has no share of what is counted out already."""
        test = self.test
        if test is None or test.over or self._judging is not None or client_id in test.workers:
            return
        seen = test.add_worker(client_id)
        seen.late = True
        self._hand_out(client_id, replace(test.plan.of_worker(seen.number, seen.number + 1), late=True))

    # --- what the workers say ---

    def _take_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        test = self.test
        if test is None:
            return
        test.take_report(client_id, data)
        if test.complete(self.missing(test)) and not test.over:
            test.over = True
            gevent.spawn(self._end)
        elif test.spent:
            self.end_at_ceiling()

    def end_at_ceiling(self) -> None:
        """End the test, once: it has sent as many requests as it may."""
        test = self.test
        if test is not None and not test.over:
            test.over = True
            told = (
                f"ended before its time, at its ceiling of {test.plan.most_requests} requests: a worker may send an "
                "even share of them, and one has"
            )
            _log.warning("rig: the test %s (--rig-max-requests)", told)
            self._note(f"the test {told}")
            gevent.spawn(self._end)

    def _take_rows(self, msg: Any, **_: Any) -> None:
        answer_sign_of_life(self.runner, msg.node_id)
        if self.test is not None:
            self.test.keep_rows(msg.node_id, msg.data)

    def _take_account(self, msg: Any, **_: Any) -> None:
        answer_sign_of_life(self.runner, msg.node_id)
        if self.test is not None:
            self.test.keep_account(msg.node_id, msg.data)

    # --- a test ends ---

    def _finish_before_quit(self) -> None:
        """Locust takes its exit code right after this: no test may be left without a verdict.

        Told to end by a signal it would stop the test only afterwards, and a stop under way may have been cut off.
        """
        if self._beginning is not None:
            self._beginning.join()
        if self.test is not None:
            self.runner.stop()
            self._conclude()
        if self._headless and not self.results and self.environment.process_exit_code is None:
            _log.error(_NOTHING_JUDGED)
            self.environment.process_exit_code = ExitCode.INTERRUPTED

    @property
    def _headless(self) -> bool:
        options = self.environment.parsed_options
        return options is not None and bool(options.headless)

    def _conclude(self) -> None:
        """Judge the test, once, and wait for the end of it, whoever asks.

        In a greenlet of its own: locust kills the one that it stops a test in when it quits meanwhile.
        """
        if self._judging is None:
            self._judging = gevent.spawn(self._guard(self._judge))
        self._judging.join()

    def _judge(self) -> None:
        if self._beginning is not None:
            self._beginning.join()
        test = self.test
        if test is None:
            return
        self.status = "collecting the workers' accounts"
        self._collect(test)
        self.status = "reading the truth"
        total = self.runner.stats.total
        books = test.books(total.num_requests, total.num_failures)
        result = self.coordinator.ask("finish", account=_BOOKS.dump_python(books, mode="json"))
        self.test = None
        self.results.append(result)
        self._ends_in(result["exit_code"])
        self.status = f"{result['verdict']}: {result['sentence']}"
        _log.info("rig: %s", self.status)
        if result["sealed"]:
            _log.info("rig: evidence in %s (SHA256SUMS %s)", result["pack"], result["digest"])
        else:
            _log.error("rig: the truth could not be read whole: finish it by `rig settle %s`", result["pack"])
        if self._headless and len(self.missing(test)) == len(test.workers):
            gevent.spawn(self._end)  # locust stops a test whose last worker is gone, and waits on

    def missing(self, test: LocustTest) -> list[int]:
        """Numbers of the workers that locust does not hear any more."""
        present = {node.id for node in self.runner.clients.values() if node.state != STATE_MISSING}
        return [seen.number for seen in test.workers.values() if seen.node not in present]

    def _collect(self, test: LocustTest) -> None:
        """Have every worker finish, and wait for the accounts of all but those that are gone."""
        for node in list(self.runner.clients):
            if node in test.workers and not test.workers[node].accounted:
                self.runner.send_message(FINISH, client_id=node)
        deadline = time.monotonic() + test.plan.timeout_s + ACCOUNTS_S
        while waiting := test.waiting:
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


def install(
    events: Any, mix: Sequence[UserClass], shared: SharedScenario | None = None
) -> dict[str, type[locust.User]]:
    """Hook the rig into locust, called by a locustfile; the user classes of ``mix`` and ``shared``, by name.

    Locust finds user classes among the names of the locustfile: it must take them over.
    """
    if started_as() == "worker":
        _log.error("rig: a worker of this locustfile is native: run `rig worker --master HOST` instead")
        sys.exit(ExitCode.USAGE)
    keys = MasterKeys.take()
    require_key(keys.worker)
    events.init_command_line_parser.add_listener(lambda parser, **_: add_options(parser, shared))
    events.init.add_listener(lambda environment, **_: _join(environment, mix, shared, keys))
    return classes_of(mix, shared.user_class if shared is not None else "")


def _join(environment: Environment, mix: Sequence[UserClass], shared: SharedScenario | None, keys: MasterKeys) -> None:
    """Become part of a locust process, or end it with the reason why not."""
    if not locust.__version__.startswith(f"{PROTOCOL}."):
        _log.error("rig: this is locust %s; the rig speaks the protocol of %s", locust.__version__, PROTOCOL)
        sys.exit(ExitCode.CONFIG)
    if environment.reset_stats:
        _log.warning("rig: --reset-stats is left out: every request of a test counts")
        environment.reset_stats = False
    waiting = gevent.getcurrent()
    # Locust listens for it only after this.
    sigterm = gevent.signal_handler(signal.SIGTERM, lambda: gevent.kill(waiting, KeyboardInterrupt))
    try:
        options = options_of(environment, shared)
        if shared is not None and options.fixed is None:
            chosen = [each for each in environment.user_classes if each.__name__ != shared.user_class]
            environment.user_classes = chosen
        bridge = Bridge(environment, options, mix, shared, keys)
    except KeyboardInterrupt:
        _log.error(_NOTHING_JUDGED)
        _leave(environment, ExitCode.INTERRUPTED)
    except (RigError, CoordinatorError) as error:
        _log.error("rig: %s", error)
        _leave(environment, error.exit_code)
    except Exception:  # locust would end in 1 by itself, which says that the target failed
        _log.exception("a fault of the rig itself")
        _leave(environment, ExitCode.INTERNAL)
    finally:
        sigterm.cancel()
    if environment.web_ui is not None:
        from rig.locust_bridge.master_guard import guard
        from rig.locust_bridge.master_ui import add_tabs

        add_tabs(environment.web_ui, bridge)
        guard(environment.web_ui, keys.web_token, options.web_names)


def _leave(environment: Environment, exit_code: int) -> NoReturn:
    """End before a test has begun. The workers are told: else they wait for a master that is gone."""
    if environment.runner is not None:
        environment.runner.quit()
    sys.exit(exit_code)
