"""Strikes and heals the faults of a schedule, beside the load, and writes down when.

One fault at a time: a fault that takes long to heal delays the next. Leaving the context heals what is broken and
strikes no more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Self

import psutil
import psycopg

from rig.chaos.fault import ChaosTarget, Fault, Struck
from rig.chaos.schedule import REST_S, SLOW_S
from rig.errors import RigError
from rig.evidence.chaos import FaultRecord, PlannedFault
from rig.machine.processes import alive
from rig.text import one_line

_JOIN_S = 120.0
_LEAST_REST_S = 1.0
"""So much load must be left after a fault that is delayed."""
_NS = 1e9


class FaultRunner:
    """A context in which faults strike, from the call of ``begin`` on. ``records`` has those so far.

    ``seconds``: how long the load goes on; ``rest_s``: how long nothing is broken after a fault. ``told`` is called
    with each record once its fault has struck, and once it is healed. Leaving the context raises RigError where a fault
    could not be healed.
    """

    def __init__(
        self,
        target: ChaosTarget,
        planned: Sequence[PlannedFault],
        faults: Mapping[str, Fault],
        seed: int,
        seconds: float,
        told: Callable[[FaultRecord], None] = lambda record: None,
        rest_s: float = REST_S,
    ) -> None:
        self.records: list[FaultRecord] = []
        self._target, self._planned, self._faults, self._seed = target, planned, faults, seed
        self._seconds, self._rest_s, self._told = seconds, rest_s, told
        self._begun, self._stop = threading.Event(), threading.Event()
        self._unhealed: list[str] = []
        self._besides_s: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="rig-chaos", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop.set()
        self._begun.set()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            self._unhealed.append(f"a fault was not healed within {_JOIN_S:g} s")
        if self._unhealed and kind is None:
            raise RigError("; ".join(self._unhealed))

    def begin(self) -> None:
        """The first request is due now."""
        self._begun.set()

    def _run(self) -> None:
        self._begun.wait()
        begun_ns = time.monotonic_ns()
        free_ns, end_ns = begun_ns, begun_ns + round(self._seconds * _NS)
        for planned in self._planned:
            at_ns = max(begun_ns + round(planned.at_s * _NS), free_ns)
            takes_s = planned.for_s + self._besides_s.get(planned.fault, SLOW_S.get(planned.fault, 0.0))
            if at_ns + round((takes_s + _LEAST_REST_S) * _NS) > end_ns:
                continue  # earlier faults took long to heal, as this one did the last time
            if self._stop.wait(max(0.0, (at_ns - time.monotonic_ns()) / _NS)):
                return
            record = FaultRecord(planned.number, planned.fault, at_ns)
            record = self._strike(self._faults[planned.fault], planned, record)
            self.records.append(record)
            self._told(record)
            took_s = (record.healed_ns - record.strike_begun_ns) / _NS if record.healed_ns else 0.0
            self._besides_s[planned.fault] = max(0.0, took_s - planned.for_s)
            free_ns = record.healed_ns + round(self._rest_s * _NS) if record.healed_ns else free_ns

    def _strike(self, fault: Fault, planned: PlannedFault, record: FaultRecord) -> FaultRecord:
        """Set up, strike, wait, heal. Where it goes wrong before it has struck, the fault is skipped."""
        record = replace(record, strike_begun_ns=time.monotonic_ns())
        struck = Struck()
        serving = self._target.serving()
        try:
            if why := fault.missing(self._target):
                return replace(record, strike_begun_ns=0, skipped=why)
            with fault.strike(self._target, Random(f"{self._seed}-{planned.number}")) as struck:
                record = replace(record, struck_ns=time.monotonic_ns())
                self._told(record)
                self._stop.wait(planned.for_s)
                gone = {process.pid for process in serving if not alive(process)} - set(struck.processes)
                record = replace(
                    record,
                    heal_begun_ns=time.monotonic_ns(),
                    processes=tuple(struck.processes),
                    gone=tuple(sorted(gone)),
                )
        except (RigError, psycopg.Error, psutil.Error, OSError) as error:
            why = one_line(f"{type(error).__name__}: {error}")
            if record.heal_begun_ns:
                self._unhealed.append(f"the fault {fault.name} could not be healed: {why}")
            elif not record.struck_ns:
                record = replace(record, skipped=f"it could not strike: {why}")
        notes = struck.notes
        try:
            notes.append(self._target.revive())
        except RigError as error:  # the target's failure, which its answers show: nothing more is broken
            notes.append(f"the service did not come back: {one_line(str(error))}")
            self._stop.set()
        return replace(
            record,
            healed_ns=time.monotonic_ns(),
            is_crash=fault.is_crash or struck.has_crashed,
            is_relaunched=struck.is_relaunched,
            note="; ".join(filter(None, notes)),
        )
