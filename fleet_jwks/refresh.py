"""The protocol between the processes of a fleet: read the row, take the lease, read again, fetch, write.

Flow: ``Refresher.refresh(known, wait_timeout_s)`` gives the fleet's row if it holds anything new. If it is this
process's turn, it fetches first. The connection is opened when first needed, and again when it was lost. Not
thread-safe: the verifier lets one thread of a process in at a time.
"""

from __future__ import annotations

import logging
import os
import random
from contextlib import suppress
from typing import Any

import psycopg

from fleet_jwks import store
from fleet_jwks.errors import FetchFailed, FleetUnavailable
from fleet_jwks.fleet import KeySetRow
from fleet_jwks.keys import import_keys
from fleet_jwks.lease import NoLease, lease_for
from fleet_jwks.settings import JwksSettings, Protection
from fleet_jwks.store import Connection, FetchOutcome
from fleet_jwks.upstream import Fetch

_log = logging.getLogger("fleet_jwks")
_CONNECT_TIMEOUT_S = 5
_GONE_MS = 15_000
"""A server whose machine is gone is noticed after so long."""


class Refresher:
    """One process's part in the fleet, over PostgreSQL (``KeyFleet``)."""

    def __init__(self, settings: JwksSettings, fetch: Fetch) -> None:
        self.fetches = 0
        self._settings = settings
        self._fetch = fetch
        self._lease = lease_for(settings)
        self._connection: Connection | None = None

    def refresh(self, known: int, wait_timeout_s: float | None) -> KeySetRow | None:
        try:
            return self._refresh(known, wait_timeout_s)
        except psycopg.Error as error:
            raise FleetUnavailable(" ".join(str(error).split())) from error

    def _refresh(self, known: int, wait_timeout_s: float | None) -> KeySetRow | None:
        connection = self._connect()
        try:
            row = store.read(connection, self._settings.source, known)
            if self._is_current(row, known):
                return row
            lease = NoLease() if self._is_unguarded(row) else self._lease
            with lease.hold(connection, wait_timeout_s) as mine:
                if not mine:
                    return None
                row = store.read(connection, self._settings.source, known)
                return row if self._is_current(row, known) else self._fetch_and_write(connection, row, known)
        finally:
            if not self._settings.has(Protection.ONE_CONNECTION):
                self.close()

    def close(self) -> None:
        """Close the connection; the next refresh opens another."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection = None

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.closed:  # never opened, or lost in use
            # Autocommit: a transaction is where a lease opens one. No prepared statements: a pooler would lose them.
            connection: psycopg.Connection[Any] = psycopg.connect(
                self._settings.dsn,
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=_CONNECT_TIMEOUT_S,
                tcp_user_timeout=_GONE_MS,
                keepalives_idle=_CONNECT_TIMEOUT_S,
                keepalives_interval=_CONNECT_TIMEOUT_S,
                keepalives_count=2,
                application_name="jwks-verifier",
            )
            store.ensure(connection, self._settings.source)
            self._connection = connection
        return self._connection

    def _is_unguarded(self, row: KeySetRow) -> bool:
        return row.version == 0 and not self._settings.has(Protection.COLD_START)

    def _is_current(self, row: KeySetRow, known: int) -> bool:
        if row.version > known:
            return True
        return row.allowed_in_s > 0 and not self._is_unguarded(row)

    def _fetch_and_write(self, connection: Connection, row: KeySetRow, known: int) -> KeySetRow:
        self.fetches += 1
        document, error = None, ""
        try:
            document = self._fetch()
            import_keys(document)
        except FetchFailed as failure:
            document, error = None, str(failure)
        except Exception as failure:  # the callable is the user's; whatever it raises is a failed fetch
            document, error = None, f"{type(failure).__name__}: {failure}"
        failures = row.failures + 1 if error else 0
        wait_s = self._wait_s(failures)
        if error:
            _log.warning("fetch of the key set failed, %d in a row: %s; the next in %.1f s", failures, error, wait_s)
        else:
            _log.info("fetched the key set; the next fetch in %.1f s at the earliest", wait_s)
        outcome = FetchOutcome(
            document=document,
            error=error,
            failures=failures,
            started_at=row.now,
            wait_s=wait_s,
            from_start=not self._settings.has(Protection.COOL_DOWN_FROM_END),
            pid=os.getpid(),
        )
        return store.write(connection, self._settings.source, known, outcome, self._settings)

    def _wait_s(self, failures: int) -> float:
        """How long nobody may fetch after this fetch: the cool-down, after failures at least the backoff."""
        settings = self._settings
        cool_down_s = settings.cool_down_s if settings.has(Protection.COOL_DOWN) else 0.0
        if not failures or not settings.has(Protection.BACKOFF):
            return cool_down_s
        backoff_s = min(settings.backoff_cap_s, settings.backoff_base_s * 2.0 ** min(failures - 1, 60))
        stretch = random.uniform(0, settings.jitter) if settings.has(Protection.JITTER) else 0.0
        return max(cool_down_s, backoff_s * (1 + stretch))
