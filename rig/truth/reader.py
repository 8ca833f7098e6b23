"""Reads the truth: preflight before a run, quiesce and read after it.

Rows and logs may be read separately: rows while the database runs, logs after their writers were stopped, because the
last lines may be written only then.

Each step opens and closes its own connection. So none is idle while the target is under load, and a crash of the
database between two steps does no harm. It never writes to the target's tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import Connection

from rig.errors import ConfigError, EvidenceError, Unavailable
from rig.evidence.isolation import IsolationReport
from rig.evidence.truth import Lasting, OpenTransaction, TruthReport
from rig.model import Scenario, Tenant
from rig.profile import Profile
from rig.requests.targeter import Targeter
from rig.truth.arrival import ArrivalWatch, await_arrival
from rig.truth.canaries import Findings, Search
from rig.truth.catalog import event_tables, find_columns, named_columns
from rig.truth.expected import RequestIndex, SentRequests
from rig.truth.isolation import read_durability, read_isolation
from rig.truth.lasting import Look, compare, take_look
from rig.truth.log_marks import LogMark, mark_logs
from rig.truth.logs import search_log
from rig.truth.preflight import preflight, require_sound_tables
from rig.truth.quiesce import LEFT_SHARE, Quiescence, find_left, quiesce
from rig.truth.reconcile import Baseline, Reconciliation, reconcile
from rig.truth.session import connect, in_words
from rig.truth.tables import EventTables, now_in_transactions


@dataclass(frozen=True, slots=True)
class RowsRead:
    """What the rows came to, and how they were then, for ``TruthReader.read_again``."""

    truth: TruthReport
    look: Look


class TruthReader:
    """Reads the truth of one profile over ``dsn``; ``runtime_dsn`` is the target's own. Neither is ever shown."""

    def __init__(self, profile: Profile, dsn: str, runtime_dsn: str | None = None) -> None:
        self._profile = profile
        self._dsn = dsn
        self._runtime_dsn = runtime_dsn

    def require_tables(self, runtime_dsn: str | None) -> None:
        """Check tables, columns and roles before anything else takes time. Raises what ``preflight`` raises."""
        with self._naming_errors(), self._connect() as connection:
            require_sound_tables(connection, self._profile.truth, runtime_dsn)

    def preflight(
        self,
        targeter: Targeter,
        scenarios: Sequence[Scenario],
        tenants: Sequence[Tenant],
        runtime_dsn: str | None,
        *,
        keys_must_fit: bool = True,
    ) -> Baseline:
        """Check that truth can be read, and count existing rows. To be called before anything is sent.

        ``keys_must_fit``: refuse columns that can hold no key; the doctor finds out which can.
        Unavailable: no connection; ConfigError: names or roles are wrong; EvidenceError: keys of this run exist.
        """
        with self._naming_errors(), self._connect() as connection:
            truth, keys = self._profile.truth, self._personal_keys
            allowed = self._allowed_columns(connection)
            named_columns(connection, self._profile.tenants.rows, truth, "tenants.rows")  # else rig clean would fail
            before = preflight(
                connection, truth, targeter, scenarios, tenants, runtime_dsn, keys, allowed, keys_must_fit=keys_must_fit
            )
        return replace(before, logs=mark_logs(self._profile.target.log_files))

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        """Errors of the database name the variable with its DSN."""
        variable = self._profile.truth.dsn_env
        try:
            yield
        except psycopg.OperationalError as error:
            raise Unavailable(
                f"the truth database of ${variable} cannot be reached: {in_words(error)}; is it running?"
            ) from None
        except psycopg.Error as error:
            raise ConfigError(f"the truth database of ${variable} cannot be used: {in_words(error)}") from None

    def quiesce(self) -> Quiescence:
        """Wait until the target's database was quiet for ``truth.quiet_s``, at most ``truth.quiesce_timeout_s``."""
        truth = self._profile.truth
        return quiesce(self._connect, timeout_s=truth.quiesce_timeout_s, quiet_s=truth.quiet_s)

    def watch_arrival(self, targeter: Targeter, tenants: Sequence[Tenant]) -> ArrivalWatch:
        """A context that watches rows arrive beside the load."""
        arrival = self._profile.truth.arrival
        return ArrivalWatch(self._connect, self._profile, targeter, tenants, arrival.within_s if arrival else None)

    def require_arrival(self, sent: SentRequests, ended_s: float | None = None) -> tuple[OpenTransaction, ...] | None:
        """Wait for the rows, where the profile says how long they may take; else until the database is quiet.

        The transactions that were left open then; None where they are hidden (``find_left``). ``ended_s``: when the
        load was over, of the monotonic clock; None: now. EvidenceError where the database does not become quiet, or
        cannot be read.
        """
        arrival = self._profile.truth.arrival
        if arrival is None:
            if not (quiescence := self.quiesce()):
                raise EvidenceError(f"the truth was not read: the database was {quiescence}")
            return quiescence.left
        try:
            deadline_s = (time.monotonic() if ended_s is None else ended_s) + arrival.within_s
            await_arrival(self._connect, self._profile, sent, deadline_s)
            return find_left(self._connect, self._left_after_s)
        except psycopg.Error as error:
            raise EvidenceError(f"the rows could not be waited for: {in_words(error)}") from None

    def read(
        self,
        sent: SentRequests,
        baseline: Baseline,
        log_files: Sequence[Path] = (),
        left: Sequence[OpenTransaction] | None = (),
    ) -> TruthReport:
        """Read rows, then logs, where nothing has to be stopped in between (``read_rows``, ``search_logs``)."""
        truth = self.read_rows(sent, baseline, left).truth
        return self.search_logs(truth, sent.targeter, sent.scenarios, log_files, baseline.logs)

    def read_rows(
        self, sent: SentRequests, baseline: Baseline, left: Sequence[OpenTransaction] | None = ()
    ) -> RowsRead:
        """Reconcile and search the tables; EvidenceError where the database cannot be read completely.

        ``left``: what ``require_arrival`` found. Both run at once, over two connections: the database searches while
        the expectations are derived here.
        """
        began = time.monotonic()
        index = RequestIndex(sent.targeter, sent.scenarios)
        try:
            with (
                self._connect() as connection,
                self._connect() as searching,
                ThreadPoolExecutor(max_workers=1) as background,
                connection.transaction(),
            ):
                tables = event_tables(connection, self._profile.truth)
                allowed = self._allowed_columns(connection)
                if baseline.since is not None and baseline.since > now_in_transactions(connection):
                    # A database that was restored since counts its transactions anew: every row may be new.
                    baseline = replace(baseline, since=None)
                may_fill = self._profile.personal_data.policy != "refuse"
                keys = self._personal_keys
                search = Search(tables, keys, index, sent.tenants, baseline, allowed, columns=not may_fill)
                searched = background.submit(search.search_tables, searching)
                reconciled = reconcile(connection, tables, sent, baseline)
                look = take_look(connection, tables, self._profile, sent.tenants, baseline.since)
                searched.result()
                isolation = self._read_isolation(connection, tables, sent.tenants)
                durability = read_durability(connection, tables, self._runtime_dsn)
        except (psycopg.Error, ConfigError) as error:
            when = "the database is back" if isinstance(error, psycopg.OperationalError) else "that is mended"
            raise EvidenceError(
                f"truth could not be read: {in_words(error)}; run `rig settle PACK` when {when}"
            ) from None
        truth = replace(
            _report(reconciled, search, baseline),
            read_s=time.monotonic() - began,
            isolation=isolation,
            durability=durability,
            lasting=Lasting(untried="the rows were read once"),
            left_open=_begun_since(baseline, left),
            hides_sessions=left is None,
        )
        return RowsRead(truth, look)

    def read_again(self, rows: RowsRead, sent: SentRequests, baseline: Baseline) -> RowsRead:
        """The same, with what has become of the rows, and what single events have left open since."""
        truth, fresh = rows.truth, {tenant.id for tenant in sent.tenants if baseline.fresh(tenant)}
        try:
            fresh_left = _begun_since(baseline, find_left(self._connect, self._left_after_s))
            if truth.left_open is not None and fresh_left is not None:
                left = {(each.pid, each.begun_s): each for each in (*truth.left_open, *fresh_left)}
                truth = replace(truth, left_open=tuple(left.values()))
            with self._connect() as connection, connection.transaction():
                tables = event_tables(connection, self._profile.truth)
                last = take_look(connection, tables, self._profile, sent.tenants, baseline.since)
                lasting, found = compare(connection, tables, rows.look, last, sent, fresh)
        except (psycopg.Error, ConfigError) as error:
            lasting, found = Lasting(unread=f"the rows could not be read again: {in_words(error)}"), ()
        return replace(rows, truth=replace(truth, lasting=lasting, discrepancies=(*truth.discrepancies, *found)))

    def search_logs(
        self,
        truth: TruthReport,
        targeter: Targeter,
        scenarios: Sequence[Scenario],
        log_files: Sequence[Path] = (),
        marks: Mapping[str, LogMark] = MappingProxyType({}),
    ) -> TruthReport:
        """The same truth, with hits in ``log_files`` and in the log files that the profile names.

        ``marks``: which files they were before the run. A file that cannot be read, or of which something is gone,
        is named in the notes and missing from ``log_files_scanned``.
        """
        began = time.monotonic()
        index, findings = RequestIndex(targeter, scenarios), Findings([])
        wanted = dict.fromkeys([*self._profile.target.log_files, *log_files])
        scanned, notes = _search_logs(wanted, index, findings, marks)
        return replace(
            truth,
            canary_hits=(*truth.canary_hits, *findings.hits),
            log_files_scanned=tuple(scanned),
            read_s=truth.read_s + time.monotonic() - began,
            notes=(*truth.notes, *notes, *findings.overflow_notes("logs")),
            log_files_unread=tuple(str(path) for path in wanted if str(path) not in scanned),
        )

    def _read_isolation(
        self, connection: Connection[Any], tables: EventTables, tenants: Sequence[Tenant]
    ) -> IsolationReport | None:
        """None where the profile does not promise row-level security, or the target's role is not known."""
        promised = self._profile.truth.isolation
        if promised is None or self._runtime_dsn is None:
            return None
        return read_isolation(connection, tables, self._runtime_dsn, promised.setting, tenants)

    @property
    def _left_after_s(self) -> float:
        """How long a session does nothing in its transaction before it has left it open, as in ``quiesce``."""
        return self._profile.truth.quiesce_timeout_s * LEFT_SHARE

    @property
    def _personal_keys(self) -> tuple[str, ...]:
        """Keys that no event row may hold. A service that scrubs may keep keys without their values."""
        return () if self._profile.personal_data.policy == "scrub" else self._profile.personal_keys

    def _allowed_columns(self, connection: Connection[Any]) -> frozenset[tuple[int, str]]:
        return find_columns(connection, self._profile.personal_data.columns, self._profile.truth)

    def _connect(self) -> Connection[Any]:
        return connect(self._dsn)


def _begun_since(baseline: Baseline, left: Iterable[OpenTransaction] | None) -> tuple[OpenTransaction, ...] | None:
    return None if left is None else tuple(each for each in left if each.begun_s > (baseline.clock_s or 0.0))


def _report(reconciled: Reconciliation, search: Search, baseline: Baseline) -> TruthReport:
    """What the comparison and the search of the tables found."""
    findings, content = search.findings, reconciled.content
    return TruthReport(
        groups=reconciled.groups,
        totals=reconciled.totals,
        discrepancies=(
            *reconciled.discrepancies,
            *reconciled.copies.discrepancies,
            *(content.discrepancies if content is not None else ()),
        ),
        canary_hits=tuple(findings.hits),
        columns_scanned=findings.columns_scanned,
        log_files_scanned=(),
        duplicated_keys=reconciled.duplicated_keys,
        keys_reconciled=reconciled.keys_reconciled,
        read_s=0.0,
        notes=(*baseline.notes, *reconciled.notes, *search.notes, *findings.overflow_notes("tables")),
        keys_unattributed=search.ownerless_count,
        content=content.content if content is not None else (),
        copies=reconciled.copies.total,
        copy_examples=reconciled.copies.examples,
        strangers_examined=reconciled.copies.examined,
    )


def _search_logs(
    paths: dict[Path, None], index: RequestIndex, findings: Findings, marks: Mapping[str, LogMark]
) -> tuple[list[str], list[str]]:
    scanned, notes = [], []
    for path in paths:
        try:
            search_log(path, index, findings, marks.get(str(path)))
        except OSError as error:
            notes.append(f"log file {path} could not be searched for personal data: {error.strerror or error}")
        else:
            scanned.append(str(path))
    return scanned, notes
