"""One test as the master sees it: its workers, what they reported, the rows and accounts that they handed over.

Flow: ``LocustTest.add_worker`` enters a worker; ``take_report``, ``keep_rows`` and ``keep_account`` take what the
workers send; ``books`` is what the master itself says at the end. A worker is believed about itself only. Not for:
deciding when a test begins or ends (``master``).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NotRequired

from pydantic import NonNegativeInt, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic does not take that of `typing` before Python 3.12

from rig.evidence.locust_run import MasterAccount, WorkerAccount, WorkerSeen
from rig.evidence.pack import Pack
from rig.locust_bridge.plan import LocustPlan

_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ACCOUNT = TypeAdapter(WorkerAccount)

_log = logging.getLogger("rig")


class _PieceOfRows(TypedDict):
    label: str
    worker: int
    data: bytes


class _OwnPart(TypedDict):
    sequence: int
    credit: dict[str, NonNegativeInt]
    spent: bool
    examples: NotRequired[dict[str, str]]


class _Total(TypedDict):
    num_requests: NonNegativeInt
    num_failures: NonNegativeInt


class _Report(TypedDict):
    rig: _OwnPart
    stats_total: _Total


_ROWS, _REPORT = TypeAdapter(_PieceOfRows), TypeAdapter(_Report)


@dataclass(slots=True)
class WorkerRecord:
    """What is known of one worker while its test goes on."""

    number: int
    node: str
    share: int = 0
    """Of the requests of fixed count, where the test has such."""
    reports: int = 0
    requests: int = 0
    failures: int = 0
    credit: Mapping[str, int] = field(default_factory=dict)
    lost: str = ""
    accounted: bool = False
    late: bool = False

    def frozen(self) -> WorkerSeen:
        """For the books."""
        return WorkerSeen(
            number=self.number,
            node=self.node,
            reports=self.reports,
            requests=self.requests,
            failures=self.failures,
            credit=dict(self.credit),
            lost=self.lost,
            late=self.late,
        )


@dataclass(slots=True)
class LocustTest:
    """One test, from its start to its verdict. ``alone``: S8 is all that it consists of."""

    pack: Pack
    plan: LocustPlan
    alone: bool
    workers: dict[str, WorkerRecord] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    spent: bool = False
    """True once a worker has sent its share of the ceiling on requests, or all of them together have sent as many."""
    over: bool = False
    examples: dict[str, str] = field(default_factory=dict)
    """The key of a first request of each error, by the error's name in locust's statistics."""

    def add_worker(self, node: str, share: int = 0) -> WorkerRecord:
        """Enter a worker; its number is the next one."""
        seen = self.workers[node] = WorkerRecord(len(self.workers), node, share)
        return seen

    @property
    def waiting(self) -> list[WorkerRecord]:
        """Workers that owe their account and are not known to be lost."""
        return [seen for seen in self.workers.values() if not seen.accounted and not seen.lost]

    def complete(self, missing: Collection[int]) -> bool:
        """True when a test of nothing but a fixed count is sent: the shares of all who are not ``missing``."""
        heard = [seen for seen in self.workers.values() if seen.number not in missing]
        return self.alone and self.plan.fixed is not None and all(seen.requests >= seen.share for seen in heard)

    @property
    def requests(self) -> int:
        """All that the workers have reported so far."""
        return sum(each.requests for each in self.workers.values())

    def take_report(self, node: str, data: Any) -> None:
        """Take a worker's statistics into account: locust's ``stats`` message with the rig's part in it.

        A worker whose report cannot be read is lost; one without the rig's part is none of the test.
        """
        seen = self.workers.get(node)
        if seen is None or (isinstance(data, Mapping) and data.get("rig") is None):
            return
        try:
            data = _REPORT.validate_python(data)
        except ValidationError as error:
            seen.lost = f"its report cannot be read: {error.error_count()} faults"
            return
        said = data["rig"]
        seen.reports += 1
        if seen.reports != said["sequence"]:
            _log.warning("worker %d: report %d came as number %d", seen.number, said["sequence"], seen.reports)
        seen.credit = said["credit"]
        for kind, key in said.get("examples", {}).items():
            self.examples.setdefault(kind, key)
        seen.requests += data["stats_total"]["num_requests"]
        seen.failures += data["stats_total"]["num_failures"]
        self.spent |= said["spent"] or self.requests > self.plan.most_requests

    def keep_rows(self, node: str, data: Any) -> None:
        """Append a piece of a worker's history to its file in the pack; a worker whose rows cannot be kept is lost."""
        seen = self.workers.get(node)
        try:
            data = _ROWS.validate_python(data)
        except ValidationError:
            seen = None
        if seen is None or data["worker"] != seen.number or not _LABEL.fullmatch(data["label"]):
            _log.warning("rows of an unknown worker or batch were thrown away")
            return
        label = data["label"]
        try:
            with (self.pack.history_folder / ".raw" / f"{label}.{seen.number}.rows").open("ab") as rows:
                rows.write(data["data"])
        except OSError as error:  # a full disk, or a history that is closed
            seen.lost = f"its rows cannot be written: {error.strerror or error}"

    def keep_account(self, node: str, data: Any) -> None:
        """Put a worker's final account into the pack; one that cannot be believed makes it lost.

        Who was given up and comes after all is not lost: the account comes last, and all rows were before it.
        """
        seen = self.workers.get(node)
        if seen is None:
            _log.warning("the account of an unknown worker was thrown away")
            return
        try:
            account = _ACCOUNT.validate_python(data)
        except ValidationError as error:
            seen.lost = f"its account cannot be read: {error.error_count()} faults"
            return
        if account.number != seen.number:
            seen.lost = f"its account is that of worker {account.number}"
            return
        self.pack.write_account(account)
        seen.accounted, seen.lost = True, ""

    def books(self, requests: int, failures: int) -> MasterAccount:
        """What the master saw; ``requests`` and ``failures`` are those of locust's own statistics."""
        return MasterAccount(
            client="native",
            workers=tuple(seen.frozen() for seen in self.workers.values()),
            requests=requests,
            failures=failures,
            route=self.plan.route,
            tenant=self.plan.tenant,
            timeout_s=self.plan.timeout_s,
            fixed=self.plan.fixed,
            notes=tuple(self.notes),
            user_classes=self.plan.user_classes,
        )
