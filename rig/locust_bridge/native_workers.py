"""Native workers as the workers of a run: they joined a locust master, on this machine or on others.

Flow: ``NativeWorkers`` starts the master (``rig.locust_bridge.master_relay``) and waits for the workers. ``certify``
has each measure its own client; the run is judged by the weakest. Then they are used as a ``Pool`` is: each sends its
share of a scenario, and its rows come in while it does. Who is lost stays lost, and the search ends.
"""

from __future__ import annotations

import io
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import msgpack
import pandas as pd
from pydantic import BaseModel, ValidationError

from rig.engine.pool import Load, LoadWorkers
from rig.errors import ConfigError, RigError, Unavailable, UsageError
from rig.evidence.certificate import Certificate
from rig.evidence.locust_run import BatchAccount
from rig.evidence.scenario_runs import RESULT
from rig.evidence.worker_files import SUFFIXES
from rig.locust_bridge import wire
from rig.locust_bridge.clock import boot_id
from rig.locust_bridge.gather import find_damage
from rig.locust_bridge.keys import WORKER_KEY, keep_key, new_key
from rig.locust_bridge.plan import CertificationOrder, LocustPlan
from rig.machine.child import python_module, wait_for_end
from rig.machine.fleet import Abort, FleetMember, Go, MemberFailure, MemberResult
from rig.machine.supervisor import Supervisor
from rig.run.job import ExpectedWorkers
from rig.run.open_run import OpenRun

JOIN_S = 120.0
"""So long workers may take to join."""
_START_S = 30.0
_CERTIFY_S = 300.0
_STOP_S = 15.0
_LEAD_NS = 250_000_000
"""From the word to start to the start: a slow line must have carried it by then."""
_READ_BYTES = 1 << 20


class _ShareCertificate(BaseModel):
    certificate: Certificate
    rows: bytes
    pids: list[int]


class _ShareRows(BaseModel):
    label: str
    data: bytes


class _ShareAccount(BaseModel):
    account: BatchAccount
    files: dict[str, bytes]


class _ShareFailure(BaseModel):
    why: str
    is_refusal: bool


_CONTENT: Mapping[str, type[BaseModel]] = {
    wire.CERTIFICATE: _ShareCertificate,
    wire.ROWS: _ShareRows,
    wire.LOADED: _ShareAccount,
    wire.FAILED: _ShareFailure,
}


@dataclass
class NativeMember(FleetMember):
    """A worker that joined: ``node`` is its name for the master. ``lost``: why it is not heard any more."""

    node: str
    lost: str = ""

    @property
    def name(self) -> str:
        """Which one it is, and where."""
        return f"worker {self.number} on {self.host}"

    @property
    def host(self) -> str:
        """The machine that it says it is on (``rig.locust_bridge.wire.MasterLink``)."""
        return self.node.rpartition("_rig_")[0]


class NativeWorkers(LoadWorkers):
    """The first ``expected.count`` workers that join. A context manager: the master, and they, end with it."""

    lead_ns = _LEAD_NS

    def __init__(self, expected: ExpectedWorkers, supervisor: Supervisor, say: Callable[[str], None]) -> None:
        self.size = expected.count
        self.members: list[NativeMember] = []
        self._expected = expected
        self._supervisor = supervisor
        self._say = say
        self._pids: list[int] = []
        self._load: Load | None = None
        self._certificates: dict[int, _ShareCertificate] = {}
        self._unpacker = msgpack.Unpacker(max_buffer_size=0)
        self._listens = False
        self._key_folder: Path | None = None
        self._key = expected.key or new_key()
        self._master = subprocess.Popen(
            [*python_module("rig.locust_bridge.master_relay"), expected.host, str(expected.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            env=supervisor.environ() | {WORKER_KEY: self._key},
        )  # fmt: skip

    def __enter__(self) -> Self:
        """Wait until all have joined; Unavailable where they do not, UsageError where the master cannot listen."""
        try:
            self._wait_for_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_for_all(self) -> None:
        expected, say = self._expected, f"rig worker --master HOST:{self._expected.port}"
        self._wait_for(lambda: self._listens, _START_S, lambda: "the locust master did not start")
        if not expected.key:
            self._key_folder = keep_key(expected.port, self._key, self._supervisor, self._say)
        self._say(f"waiting for {self.size} workers: start on each load machine `{say}`")
        self._wait_for(
            lambda: len(self.members) == self.size,
            JOIN_S,
            lambda: (
                f"{len(self.members)} of {self.size} workers joined within {JOIN_S:g} s the master at "
                f"{expected.host}:{expected.port}; start the others by `{say}`, with the master's key (--key FILE), or "
                "expect fewer (--expect-workers)"
            ),
        )

    def __exit__(self, *_: object) -> None:
        assert self._master.stdin is not None
        assert self._master.stdout is not None
        with suppress(BrokenPipeError):
            self._master.stdin.close()
        self._master.stdout.close()
        wait_for_end(self._master, _STOP_S)
        if self._key_folder is not None:
            shutil.rmtree(self._key_folder, ignore_errors=True)

    # --- what a run asks of its workers ---

    @property
    def pids(self) -> Sequence[int]:
        return self._pids

    @property
    def lacks(self) -> str:
        return "; ".join(f"{each.name} {each.lost}" for each in self.members if each.lost)

    def renew(self) -> Mapping[int, str]:
        """See ``LoadWorkers``. Nobody takes the place of one that is lost."""
        for each in self.members:
            each.is_ready, each.progress = False, 0
            each.end = MemberFailure(each.lost) if each.lost else None
        return {}

    def assign(self, load: Load) -> None:
        self._load = load
        plan = LocustPlan(
            locust=wire.VERSION,
            run=load.run,
            profile=load.profile,
            url=load.endpoint.url,
            route=load.scenario.route,
            tenant=load.scenario.tenants[0],
            credentials=load.credentials,
            fixed=load.scenario,
        )
        for each in self.members:
            share = plan.of_worker(each.number, self.size).to_wire()
            self._send(each, wire.LOAD, {"plan": share, "boot_id": boot_id()})

    def send_all(self, message: Go | Abort) -> None:
        kind, data = (wire.GO, {"at_ns": message.at_ns}) if isinstance(message, Go) else (wire.ABORT, None)
        for each in self.members:
            if each.end is None:
                self._send(each, kind, data)

    def listen(
        self, timeout_s: float, *, until_ready: bool = False, on_message: Callable[[], None] = lambda: None
    ) -> Sequence[FleetMember]:
        """See ``LoadWorkers``. ConfigError where a worker refuses its share."""

        def find_pending() -> list[NativeMember]:
            return [each for each in self.members if each.end is None and not (until_ready and each.is_ready)]

        self._take_until(lambda: not find_pending(), timeout_s, on_message)
        return find_pending()

    def give_up(self, number: int, reason: str) -> None:
        member = self.members[number]
        member.lost = reason
        member.end = MemberFailure(f"on {member.host} {reason}")

    def certify(self, order: CertificationOrder) -> list[tuple[str, Certificate, pd.DataFrame | None]]:
        """Who measured what, and the rows of its latency calibration; Unavailable where one did not.

        All measure at the same time, so those of one machine as they will send.
        """
        self.renew()
        for each in self.members:
            self._send(each, wire.CERTIFY, order.to_wire())

        def say_who() -> str:
            missing = [each.name for each in self.members if each.number not in self._certificates]
            return f"no certificate came from {', '.join(missing)} within {_CERTIFY_S:g} s"

        self._wait_for(lambda: len(self._certificates) == self.size or bool(self._failure), _CERTIFY_S, say_who)
        if self._failure:
            raise Unavailable(f"the client could not be certified: {self._failure}")
        found = []
        for each in self.members:
            said = self._certificates[each.number]
            if each.host == socket.gethostname():
                self._pids += said.pids
            found.append((each.name, said.certificate, pd.read_parquet(io.BytesIO(said.rows)) if said.rows else None))
        return found

    @property
    def _failure(self) -> str:
        failed = [(each.number, each.end) for each in self.members]
        return "; ".join(f"worker {number} {end.reason}" for number, end in failed if isinstance(end, MemberFailure))

    # --- the line to the master ---

    def _send(self, member: NativeMember, kind: str, data: Any) -> None:
        assert self._master.stdin is not None
        try:
            self._master.stdin.write(msgpack.packb((kind, data, member.node)))
            self._master.stdin.flush()
        except BrokenPipeError:
            raise RigError("the locust master's process is gone") from None

    def _wait_for(self, is_met: Callable[[], bool], timeout_s: float, say_why: Callable[[], str]) -> None:
        if not self._take_until(is_met, timeout_s):
            raise Unavailable(say_why())

    def _take_until(
        self, is_met: Callable[[], bool], timeout_s: float, on_message: Callable[[], None] = lambda: None
    ) -> bool:
        """Take messages until a condition holds; False where it does not in time."""
        assert self._master.stdout is not None
        file, deadline = self._master.stdout.fileno(), time.monotonic() + timeout_s
        while not is_met():
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([file], [], [], left_s)[0]:
                return False
            data = os.read(file, _READ_BYTES)
            if not data:
                if self._listens:
                    raise RigError("the locust master's process has ended")
                raise UsageError(
                    f"no locust master can listen at {self._expected.host}:{self._expected.port}; its last words say "
                    "why. Where the port is taken, give another one (--master-bind-port)"
                )
            self._unpacker.feed(data)
            for kind, content, node in self._unpacker:
                self._take(kind, content, node)
            on_message()
        return True

    def _take(self, kind: str, content: Any, node: str) -> None:
        """One message of the master, or of one of the workers."""
        if kind == wire.LISTENS:
            self._listens = True
        elif kind == wire.JOINED and len(self.members) < self.size:
            self.members.append(NativeMember(len(self.members), node))
            self._say(f"{self.members[-1].name} joined")
        member = next((each for each in self.members if each.node == node), None)
        if member is None:
            return
        if kind == wire.GONE and len(self.members) < self.size:  # somebody else may still join in its place
            rest = [each for each in self.members if each is not member]
            self.members = [replace(each, number=number) for number, each in enumerate(rest)]
            return
        if kind == wire.GONE:
            member.lost = "died or was cut off: it has not been heard for seconds"
            if member.end is None:
                member.end = MemberFailure(f"on {member.host} {member.lost}")
            return
        try:
            said = _CONTENT[kind].model_validate(content) if kind in _CONTENT else None
        except ValidationError as error:
            self.give_up(member.number, f"sent a message {kind} that cannot be read: {error.error_count()} faults")
            return
        if member.lost:
            return
        if kind == wire.READY:
            member.is_ready = True
        elif isinstance(said, _ShareCertificate):
            self._certificates[member.number] = said
        elif isinstance(said, _ShareRows):
            self._keep_rows(member, said)
        elif isinstance(said, _ShareAccount):
            self._keep_account(member, said)
        elif isinstance(said, _ShareFailure):
            if said.is_refusal:
                raise ConfigError(f"{member.name}: {said.why}")
            member.end = MemberFailure(f"on {member.host}: {said.why}")

    def _rows_file(self, member: NativeMember, label: str) -> Path | None:
        """Where the rows of its share go; None for those of another scenario, of one that was given up."""
        load = self._load
        return None if load is None or load.scenario.label != label else load.rows_file(member.number)

    def _keep_rows(self, member: NativeMember, said: _ShareRows) -> None:
        if (file := self._rows_file(member, said.label)) is not None and member.end is None:
            with file.open("ab") as rows:
                rows.write(said.data)
            member.progress += len(said.data) // RESULT.itemsize

    def _keep_account(self, member: NativeMember, said: _ShareAccount) -> None:
        file = self._rows_file(member, said.account.scenario.label)
        if file is None or member.end is not None:
            return
        if damage := find_damage(file, said.account):
            member.end = MemberFailure(f"on {member.host}: {damage}")
            return
        for suffix, data in said.files.items():
            if suffix in SUFFIXES:
                file.with_suffix(suffix).write_bytes(data)
        member.end = MemberResult(said.account.report)


def certify_workers(run: OpenRun, workers: NativeWorkers) -> Certificate:
    """The certificate by which the run is judged, and which is written into the pack: the weakest of all workers'."""
    run.reporter.stage(f"certifying {workers.size} workers, each on its machine")
    settings, pack = run.job.settings, run.record.pack
    order = CertificationOrder(run.key, run.job.profile, settings.document(), run.routes)
    found = workers.certify(order)
    for name, certificate, _ in found:
        run.record.note(f"{name}: {certificate.rps:,.0f} requests/s in the null benchmark")
    names, certificates, rows = zip(*found, strict=True)
    weakest, slowest, coarsest = find_weakest(certificates)
    if weakest.reason:
        weakest = replace(weakest, explanation=f"{names[slowest]}: {weakest.explanation}")
    if coarsest is not None:
        pack.write_latency_calibration(rows[coarsest])
    pack.write_certificate(weakest)
    return weakest


def find_weakest(certificates: Sequence[Certificate]) -> tuple[Certificate, int, int | None]:
    """The lowest rate and the coarsest latencies of several clients as one certificate, and whose each is. Pure.

    Where one has no latency calibration there is none.
    """
    numbers = range(len(certificates))
    slowest = min(numbers, key=lambda number: (not certificates[number].reason, certificates[number].rps))
    calibrations = [each.latency_calibration for each in certificates]
    known = [each for each in calibrations if each is not None]
    exactness = [(not each.freeze.flaw, each.covered_rate_per_s, -each.resolution_ms) for each in known]
    coarsest = min(numbers, key=lambda number: exactness[number]) if len(known) == len(calibrations) else None
    calibration = None if coarsest is None else calibrations[coarsest]
    return replace(certificates[slowest], latency_calibration=calibration), slowest, coarsest
