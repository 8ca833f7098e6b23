"""What a native worker does for a rig that sends whole scenarios by it, as ``rig capacity`` does.

Flow: ``certify`` measures the client of this machine. ``load`` gets the worker's share of a scenario ready; ``go`` says
when to begin, on the clock of this machine; the rows are handed over as they are written, and then the account.
``abort`` ends it early. A load process of its own sends, the same as in a local run (``rig.engine.pool``). A thread
speaks with it, so that the worker goes on hearing its master.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from rig.calibrate.client import CalibratedClient
from rig.calibrate.machine import run_and_watch
from rig.engine.pool import Load, Pool
from rig.errors import ConfigError, RigError, Unavailable, UsageError
from rig.evidence.certificate import Certificate
from rig.evidence.locust_run import BatchAccount
from rig.evidence.scenario_runs import RESULT, Elsewhere, Interval
from rig.evidence.worker_files import files_beside
from rig.locust_bridge.clock import Offset, boot_id
from rig.locust_bridge.plan import CertificationOrder, LocustPlan
from rig.locust_bridge.wire import CERTIFICATE, FAILED, LOADED, READY, ROWS, MasterLink
from rig.machine.fleet import Abort
from rig.run.certify import measure_client
from rig.settings import Settings
from rig.target.http_probe import HttpProbe

_PIECE_BYTES = 6_000 * RESULT.itemsize
_CERTIFICATE, _ACCOUNT = TypeAdapter(Certificate), TypeAdapter(BatchAccount)


class NativeClient:
    """The load process of one worker. All methods are called in the event loop of the worker.

    ``folder`` takes rows until they are handed over; whoever made it removes it.
    """

    def __init__(self, link: MasterLink, folder: Path) -> None:
        self._link = link
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "rig-client")
        self._pool: Pool | None = None
        self._start: SimpleQueue[tuple[int, Offset] | None] = SimpleQueue()
        self._reached = False

    def certify(self, data: Any) -> None:
        """Measure null benchmark and latency, and hand over the certificate."""
        self._submit(lambda: self._certify(CertificationOrder.from_wire(data)))

    def load(self, read_plan: Callable[[], LocustPlan], master_boot_id: str) -> None:
        """Get ready what ``read_plan`` gives, and wait for ``go``."""
        start = self._start = SimpleQueue[tuple[int, Offset] | None]()
        self._submit(lambda: self._load(read_plan(), master_boot_id, start))

    def go(self, at_ns: int, offset: Offset) -> None:
        """Begin at a time of the master's clock, from which ``offset`` is this one's."""
        self._start.put((at_ns - offset.offset_ns, replace(offset)) if offset.known else None)

    def abort(self) -> None:
        """Send nothing more and report."""
        self._start.put(None)
        if self._pool is not None:
            self._pool.send_all(Abort())

    def close(self) -> None:
        """End the load process, whatever it does. It waits for it: call it in a thread."""
        self._start.put(None)
        if self._pool is not None:
            self._pool.kill(0)
        self._thread.shutdown()
        if self._pool is not None:
            self._pool.__exit__(None, None, None)

    # --- in the thread ---

    def _submit(self, work: Callable[[], None]) -> None:
        def do() -> None:
            try:
                work()
            except (ConfigError, UsageError, Unavailable) as error:
                self._send(FAILED, {"why": str(error), "is_refusal": True})
            except (RigError, OSError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
                self._send(FAILED, {"why": f"{type(error).__name__}: {error}", "is_refusal": False})

        self._thread.submit(do)

    def _send(self, kind: str, data: Any) -> None:
        asyncio.run_coroutine_threadsafe(self._link.send(kind, data), self._loop).result()

    def _open_pool(self) -> Pool:
        if self._pool is None:
            self._pool = Pool(1).__enter__()
        return self._pool

    def _certify(self, order: CertificationOrder) -> None:
        pool, settings = self._open_pool(), Settings.from_document(order.settings)
        client = CalibratedClient(pool, order.profile, order.run, self._folder / "calibration")
        rows = None
        for certificate, rows in measure_client(client, settings, order.routes):  # noqa: B007  # the last one is whole
            pass
        packed = io.BytesIO()
        if rows is not None:
            rows.to_parquet(packed)
        said = _CERTIFICATE.dump_python(certificate, mode="json")
        self._send(CERTIFICATE, {"certificate": said, "rows": packed.getvalue(), "pids": [os.getpid(), *pool.pids]})

    def _load(self, plan: LocustPlan, master_boot_id: str, start: SimpleQueue[tuple[int, Offset] | None]) -> None:
        scenario = plan.fixed
        if scenario is None:
            raise ConfigError("the master's plan has no scenario to send")
        is_elsewhere = not boot_id() or boot_id() != master_boot_id
        self._require_reachable(plan, is_elsewhere)
        rows_file = self._folder / f"{scenario.label}.{plan.worker}.rows"
        hand_over = HandOver(rows_file, lambda piece: self._send(ROWS, {"label": scenario.label, "data": piece}))

        def await_start() -> int:
            self._send(READY, None)
            told = start.get()
            if told is None:
                raise KeyboardInterrupt
            hand_over.offset = told[1]
            return told[0]

        load = Load(
            scenario,
            plan.profile,
            plan.run,
            plan.credentials,
            plan.endpoint,
            lambda worker: rows_file,
            share=(plan.worker, plan.workers),
            await_start=await_start,
        )
        run = run_and_watch(self._open_pool(), load, progress=lambda rows: hand_over.send_news())
        hand_over.send_news()
        files = {file.suffix: file.read_bytes() for file in files_beside(rows_file)}
        for file in (rows_file, *files_beside(rows_file)):
            file.unlink(missing_ok=True)
        (report,) = run.workers
        if report is None:
            raise RigError("; ".join(run.notes).removeprefix("worker 0: "))
        offset, machine = hand_over.offset, run.machine or Interval((), 0.0, 0.0)
        report = replace(
            report,
            first_sent_ns=report.first_sent_ns and report.first_sent_ns + offset.offset_ns,
            last_done_ns=report.last_done_ns and report.last_done_ns + offset.offset_ns,
            elsewhere=Elsewhere(socket.gethostname(), boot_id(), machine, offset.error_ns) if is_elsewhere else None,
        )
        account = BatchAccount(scenario, report, hand_over.rows, hand_over.digest, run.interrupted)
        self._send(LOADED, {"account": _ACCOUNT.dump_python(account, mode="json"), "files": files})

    def _require_reachable(self, plan: LocustPlan, is_elsewhere: bool) -> None:
        """Unavailable where requests from here would not reach the target: it must not be blamed for that."""
        if self._reached:
            return
        endpoint = plan.endpoint
        if is_elsewhere and endpoint.is_loopback:
            raise Unavailable(
                f"the target's address {endpoint.url} means this machine here; name the target in the profile by a "
                "host that all machines reach (target.url, target.allow_host)"
            )
        answer = HttpProbe(endpoint, plan.profile.probes.timeout_s).connect()
        if answer.problem:
            raise Unavailable(f"the target at {endpoint.url} is not reached from here: {answer.problem}")
        self._reached = True


class HandOver:
    """Hands the rows of a file over while it grows, their times on the master's clock.

    ``rows`` and ``digest`` (SHA-256, hex) are of all that was handed over.
    """

    def __init__(self, file: Path, send: Callable[[bytes], None]) -> None:
        self._file = file
        self._send = send
        self._read_bytes = 0
        self._digest = hashlib.sha256()
        self.offset = Offset()

    @property
    def rows(self) -> int:
        return self._read_bytes // RESULT.itemsize

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def send_news(self) -> None:
        """Hand over the whole rows that were written since the last time."""
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(self._read_bytes)
            while count := len(piece := file.read(_PIECE_BYTES)) // RESULT.itemsize:
                rows = np.frombuffer(piece, RESULT, count).copy()
                for column in ("intended_ns", "sent_ns", "done_ns"):
                    rows[column][rows[column] != 0] += self.offset.offset_ns
                self._read_bytes += count * RESULT.itemsize
                file.seek(self._read_bytes)
                data = rows.tobytes()
                self._digest.update(data)
                self._send(data)
