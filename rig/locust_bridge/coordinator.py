"""What a run that locust leads needs, and must not happen in locust's patched process: database, service, tenants,
certificate, samplers, truth, judgement.

Flow: the master starts ``python -m rig.locust_bridge.coordinator`` and speaks with it in lines of JSON, one answer a
question: ``open`` once, then for each test ``begin`` (a pack, and the plan for the workers) and ``finish`` (everything
from quiescing to the sealed pack); ``start_worker`` where locust was started without a master of its own; ``look``
between them for the live tabs. It ends, and with it all that it started, when its standard input closes, however the
master ended; ``finish`` comes to its end first. What it left then ``rig settle`` finishes.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from rig.calibrate.client import CalibratedClient
from rig.calibrate.cores import plan_of_this_machine
from rig.calibrate.fingerprint import fingerprint
from rig.calibrate.null import null_benchmark
from rig.engine.pool import Pool
from rig.errors import ExitCode, RigError, UsageError
from rig.evidence.certificate import Certificate
from rig.evidence.locust_run import MasterAccount
from rig.evidence.on_purpose import describe_purpose
from rig.locust_bridge.batches import batch_scenario
from rig.locust_bridge.gather import gather
from rig.locust_bridge.keys import WORKER_KEY, keep_key
from rig.locust_bridge.launch import worker_command
from rig.locust_bridge.live import Live
from rig.locust_bridge.plan import LocustPlan, sendable_classes, sendable_scenario
from rig.locust_bridge.question_reader import QuestionReader
from rig.machine import libpq
from rig.machine.child import end, start
from rig.machine.orphans import adopt_orphans
from rig.machine.supervisor import Supervisor, register_orphan
from rig.model import RunKey, Scenario, UserClass
from rig.profile import environment
from rig.profile.discovery import Origin, ProfileChoice
from rig.report.shown import smallest_example
from rig.run.job import LOCUST, Job
from rig.run.open_run import OpenRun, open_run
from rig.run.read_truth import keep_open_on_error, read_truth
from rig.run.record import FinishedRun
from rig.run.reporter import Reporter
from rig.run.reuse import EarlierCertificate, read_earlier, reuse_certificate
from rig.samplers.sampling import plan_of_run, sampling
from rig.settings import Settings
from rig.target.launch import LiveTarget, open_target, reach
from rig.target.prober import Prober
from rig.target.secrets import Secrets
from rig.target.store import Store, open_store
from rig.target.tenants import check_tenants, provision
from rig.truth.reader import TruthReader

_TENANT = "A"
_FIXED_TENANT = "S8-1"
_WORKER_STOP_S = 15.0
_FIXED: TypeAdapter[Scenario | None] = TypeAdapter(Scenario | None)
_USER_CLASSES = TypeAdapter(tuple[UserClass, ...])


class LogReporter(Reporter):
    """Writes the stages of a run into the log of the locust process."""

    def stage(self, what: str) -> None:
        sys.stderr.write(f"rig: {what}\n")
        sys.stderr.flush()


class Coordinator:
    """One session of a master. A context manager: what it opened is closed with it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.secrets = Secrets()
        self._stack = ExitStack()
        self._reporter = LogReporter()
        self._certificate: Certificate
        self._note = ""
        """What became of the certificate that was to be reused."""
        self._test: CoordinatedTest | None = None

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(self, *_: object) -> None:
        self._give_up()
        self._stack.close()

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Do what is asked; RigError as its parts raise it."""
        match question["do"]:
            case "open":
                return self._open(question)
            case "start_worker":
                return self._start_worker(question["port"], question["key"])
            case "begin":
                return self._begin(question)
            case "look":
                return {} if self._test is None else self._test.live.look()
            case "finish":
                return self._finish(TypeAdapter(MasterAccount).validate_python(question["account"]))
            case other:
                raise UsageError(f"{other!r} is no question to the coordinator")

    def _open(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        choice = ProfileChoice(Path(wanted["profile"]), Origin(wanted["origin"]))
        profile, path = choice.load(), choice.path
        settings = Settings.from_document(wanted["settings"])
        self._reporter.stage(choice.introduction(self._environ, settings.port))
        self._environ = choice.environment(self._environ)
        self._job = Job(LOCUST, tuple(wanted["argv"]), settings, profile, path.resolve().parent)
        earlier = None if settings.certificate is None else read_earlier(Path(settings.certificate))
        check_tenants(profile, (_TENANT, _FIXED_TENANT) if wanted.get("fixed") else (_TENANT,), self._environ)
        if profile.launch is None:
            reach(profile, settings)
        self._supervisor = self._stack.enter_context(Supervisor())
        if wanted.get("key"):
            keep_key(wanted["port"], wanted["key"], self._supervisor, self._reporter.stage)
        self._folder = Path(tempfile.mkdtemp(prefix="rig-coordinator-"))
        self._supervisor.remove_at_end(self._folder)
        self._reporter.stage("preparing the database")
        self._store = self._stack.enter_context(open_store(profile, self._supervisor, self._environ, self._folder))
        self.secrets.learn_from(profile, self._environ, self._store)
        self._certificate = self._certify(earlier)
        self._reporter.stage("starting the target" if profile.launch else "reaching the target")
        self._target = self._stack.enter_context(
            open_target(profile, self._job.profile_dir, self._store, self._folder, self._environ, settings)
        )
        return {
            "url": self._target.endpoint.url,
            "on_purpose": describe_purpose(settings.defects),
            "certificate": _in_words(self._certificate),
            "sends": {route.name: [kind.value for kind in profile.sends(route)] for route in profile.routes},
        }

    def _start_worker(self, port: int, key: str) -> dict[str, Any]:
        """A native worker on this machine; it ends with the coordinator."""
        command = worker_command(port, self._job.settings.allow_host)
        worker = start(command, env=self._supervisor.environ() | {WORKER_KEY: key})
        self._stack.callback(end, worker, _WORKER_STOP_S)
        return {}

    def _certify(self, earlier: EarlierCertificate | None) -> Certificate:
        """The engine that native workers run, on this machine; an earlier certificate where it is named and holds."""
        settings, profile = self._job.settings, self._job.profile
        key, folder = RunKey(settings.seed, "null", int(time.time())), self._folder / "calibration"
        with Pool(1) as pool:
            client = CalibratedClient(pool, profile, key, folder, progress=self._reporter.stage)
            if earlier is not None:
                planning = {"core_planning": plan_of_this_machine(settings.workers).as_record()}
                certificate, self._note = reuse_certificate(
                    earlier, client, settings=settings, fingerprint=fingerprint(self._environ) | planning
                )
                self._reporter.stage(self._note)
                if certificate is not None:
                    return certificate
            return null_benchmark(client, floor_rps=settings.floor_rps, seconds=settings.null_seconds)

    def _begin(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        self._give_up()  # a master begins a test when it has none: what is left here has failed there
        fixed = _FIXED.validate_python(wanted["fixed"])
        self._job.require_requests(fixed.count if fixed else 0)
        if rate_per_user_s := wanted["rate_per_user_s"]:
            # In whole users of every worker: each keeps to an even share of the ceiling.
            self._job.require_rate(rate_per_user_s * math.ceil(wanted["users"] / wanted["workers"]) * wanted["workers"])
        opened = open_run(self._job, self._environ, self._reporter)
        if self._note:
            opened.record.note(self._note)
        self._test = test = CoordinatedTest(opened, self._store, self._target)
        try:
            plan = test.begin(wanted, fixed, self._certificate, self.secrets)
        except BaseException:
            self._give_up()
            raise
        return {"pack": str(opened.record.path), "plan": plan.to_wire()}

    def _give_up(self) -> None:
        """Watch a test no longer that nobody will finish; its pack stays, for ``rig settle``."""
        if self._test is not None:
            self._test.watching.close()
            self._test = None

    def _finish(self, account: MasterAccount) -> dict[str, Any]:
        if self._test is None:
            raise UsageError("no test has begun")
        test, self._test = self._test, None
        finished = test.finish(account)
        return finished.document() | {
            "sentence": finished.judgement.sentence,
            "about_speed": finished.judgement.about_speed,
            "sealed": finished.is_sealed,
            "examples": {page.gate.id: smallest_example(page) for page in finished.failing},
        }


def _left_out(mix: Sequence[UserClass], sent: Sequence[UserClass]) -> dict[str, str]:
    """Why the scenarios of some user classes are not sent."""
    why = "the profile leaves it out: its routes have no such bodies (routes.malformed, routes.personal)"
    return {each.id: why for each in mix if each.id not in {other.id for other in sent}}


class CoordinatedTest:
    """One test: from its pack to its verdict."""

    def __init__(self, opened: OpenRun, store: Store, target: LiveTarget) -> None:
        self.opened = opened
        self.watching = ExitStack()
        self.live = Live(opened.record.pack.samples_folder)
        self._store = store
        self._target = target
        self._reader = TruthReader(opened.job.profile, store.truth_dsn, store.runtime_dsn)

    def begin(
        self, wanted: Mapping[str, Any], fixed: Scenario | None, certificate: Certificate, known: Secrets
    ) -> LocustPlan:
        """Make the tenants, look at what is there, start to watch; the plan for the workers."""
        opened, record = self.opened, self.opened.record
        profile = opened.job.profile
        record.pack.write_certificate(certificate)
        route = wanted["route"] or profile.routes[0].name
        sends = profile.sends(profile.route(route))
        if fixed is not None:
            fixed = sendable_scenario(fixed, sends)
            # Beside other users it is judged by its rows and answers: its time is theirs as well.
            limit_s = fixed.limit_s if wanted["alone"] else None
            fixed = replace(fixed, route=route, tenants=(_FIXED_TENANT,), limit_s=limit_s)
        names = (_TENANT, _FIXED_TENANT) if fixed is not None else (_TENANT,)
        tenancy = provision(profile, opened.key, names, self._store.truth_dsn, opened.environ, known)
        record.amend_fingerprint(database=dict(self._store.facts))
        mix = _USER_CLASSES.validate_python(wanted["user_classes"])
        user_classes = sendable_classes(mix, sends)
        record.amend(tenants=tenancy.tenants, left_out=_left_out(mix, user_classes))
        plan = LocustPlan(
            locust=wanted["locust"],
            run=opened.key,
            profile=profile,
            url=self._target.endpoint.url,
            route=route,
            tenant=_TENANT,
            credentials=tenancy.credentials,
            user_classes=user_classes,
            fixed_class=wanted["fixed_class"],
            fixed=fixed,
            rate_per_user_s=wanted["rate_per_user_s"],
            most_requests=opened.job.most_requests,
            most_rate_per_s=opened.job.most_rate_per_s,
        )
        first = [_first_batch(plan, each) for each in plan.user_classes] + ([fixed] if fixed else [])
        record.keep_baseline(self._reader.preflight(record.targeter, first, tenancy.tenants, self._store.runtime_dsn))
        target = self._target
        match = profile.target.process_match
        watched = plan_of_run(
            self._store.truth_dsn, target.pid, match, wanted["client_pids"], target.listeners, wanted["master_pid"]
        )
        self.watching.enter_context(sampling(watched, record.pack.samples_folder))
        self._prober = self.watching.enter_context(Prober(profile.probes, self._target.endpoint))
        return plan

    def finish(self, account: MasterAccount) -> FinishedRun:
        """Quiesce, read the truth, judge, seal."""
        record, reporter = self.opened.record, self.opened.reporter
        self.watching.close()
        record.pack.write_probes(self._prober.frame())
        record.pack.write_pool(self._prober.pool())
        record.pack.write_account(account)
        record.mark_complete()  # what is left to do now `rig settle` can do as well
        gather(record)
        record.seal_all_rows()
        if record.manifest.scenario_runs:
            reporter.stage("waiting until the database is quiet, then reading the truth")
            with keep_open_on_error(record, self._store):
                logs = (*self._store.log_files, *self._target.log_files)
                read_truth(record, self._reader, logs, self.opened.job.settings.last_look_s)
        reporter.stage("judging and writing the evidence")
        return record.judge()


def _first_batch(plan: LocustPlan, user_class: UserClass) -> Scenario:
    return batch_scenario(user_class, 0, 0, worker=0, route=plan.route, tenant=plan.tenant, timeout_s=plan.timeout_s)


def _in_words(certificate: Certificate) -> dict[str, Any]:
    median = asdict(certificate.median)
    return {
        "rps": round(certificate.rps),
        "floor_rps": certificate.floor_rps,
        "headroom": round(certificate.headroom, 1),
        "client_cpu_us_per_request": round(median["client_cpu_us_per_request"], 1),
        "reason": certificate.reason,
        "explanation": certificate.explanation,
    }


def main() -> int:
    """Answer questions until standard input closes."""
    # Ctrl-C reaches every process of a terminal's group: the master decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whoever prints by accident must not answer
    libpq.withdraw()
    adopt_orphans(register_orphan)
    questions = QuestionReader()
    with suppress(KeyboardInterrupt, BrokenPipeError), Coordinator(environment()) as coordinator:
        for line in questions:
            _say(answers, _answer_line(coordinator, questions, line))
    return ExitCode.PASS


def _answer_line(coordinator: Coordinator, questions: QuestionReader, line: str) -> dict[str, Any]:
    try:
        question = json.loads(line)
        # A verdict is written down for whoever looks later; all else is of use to the master only.
        with nullcontext() if question["do"] == "finish" else questions.for_master():
            return coordinator.answer(question)
    except RigError as error:
        said = coordinator.secrets.blank(str(error))  # it may quote the target's last words
        return {"error": said, "exit_code": int(error.exit_code)}
    except Exception as error:  # the last line of defence: the master must hear of a bug, and not wait for ever
        return {"error": f"a fault of the rig itself: {type(error).__name__}: {error}", "exit_code": ExitCode.INTERNAL}


def _say(answers: IO[str], document: Mapping[str, Any]) -> None:
    answers.write(json.dumps(document, default=str) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
