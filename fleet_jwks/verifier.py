"""How a token is verified: with a key from memory; where that is missing or due, after a refresh.

One thread of a process refreshes at a time. ``Snapshot`` is what the process knows. It is replaced as a whole, so that
readers need no lock.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any

import psycopg
from joserfc.jwk import Key

from fleet_jwks.errors import KeysUnavailable, Refused
from fleet_jwks.keys import claims_of, import_keys, kid_of
from fleet_jwks.refresh import Refresher
from fleet_jwks.settings import JwksSettings, Protection
from fleet_jwks.store import KeySetRow
from fleet_jwks.upstream import upstream

_LOOK_AGAIN_S = 0.05
"""While it uses stale keys, a process looks for another's refresh no more often than this."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a process knows. Times are of its monotonic clock, seconds.

    The keys were fetched at ``fetched_at``. From ``due_at`` on they should be refreshed, from ``dead_at`` on they may
    not be used. Until ``no_fetch_before`` nobody in the fleet may fetch, so there is nothing newer to ask for.
    """

    keys: Mapping[str, Key] = field(default_factory=dict)
    version: int = 0
    fetched_at: float = 0.0
    due_at: float = 0.0
    dead_at: float = 0.0
    no_fetch_before: float = 0.0


class Verifier:
    """Verifies tokens for one process. Threads may share it; make it after a fork, not before."""

    def __init__(self, settings: JwksSettings) -> None:
        self._settings = settings
        self._refresher = Refresher(settings, upstream(settings))
        self._refreshing = threading.Lock()
        self._snapshot = Snapshot()

    @property
    def fetches(self) -> int:
        """Fetches that this process made."""
        return self._refresher.fetches

    def __call__(self, token: str) -> Mapping[str, Any]:
        """The claims of a valid token; raises Refused or KeysUnavailable."""
        kid = kid_of(token)
        snapshot = self._snapshot_for(kid)
        key = snapshot.keys.get(kid)
        if not snapshot.keys or time.monotonic() >= snapshot.dead_at:
            raise KeysUnavailable("there is no key set that may still be used")
        if key is None:
            raise Refused(f"the key set of version {snapshot.version} holds no key {kid!r}")
        return claims_of(token, key, self._settings)

    def close(self) -> None:
        """Close the connection to the database."""
        self._refresher.close()

    def _snapshot_for(self, kid: str) -> Snapshot:
        """What the process knows; where that key is missing or due, what the fleet knows."""
        seen, began = self._snapshot, time.monotonic()
        is_missing = kid not in seen.keys
        if not (is_missing or began >= seen.due_at) or began < seen.no_fetch_before:
            return seen
        found = self._refresh(seen, began, may_wait=is_missing or began >= seen.dead_at)
        if kid in found.keys or found is seen or found.fetched_at >= began or time.monotonic() < found.no_fetch_before:
            return found
        # Another process fetched that before this token came. The key may be newer still.
        return self._refresh(found, began, may_wait=True)

    def _refresh(self, seen: Snapshot, began: float, *, may_wait: bool) -> Snapshot:
        """Ask the fleet for what it knows, within the wait timeout of a caller that came at ``began``.

        It is asked in a thread of its own: who has the key goes on at once, and a database that stands still holds
        nobody for longer than a wait and a fetch may take.
        """
        left_s = self._left_s(began) if may_wait else 0.0
        if not self._refreshing.acquire(timeout=-1 if left_s is None else left_s):
            return self._snapshot  # another thread refreshes
        if self._snapshot is not seen:  # another thread has refreshed
            self._refreshing.release()
            return self._snapshot
        done = threading.Event()
        Thread(target=self._ask_fleet, args=(seen, began, may_wait, done), daemon=True).start()
        if may_wait:
            wait_s = self._left_s(began)
            done.wait(None if wait_s is None else wait_s + self._settings.fetch_timeout_s)
        return self._snapshot

    def _ask_fleet(self, seen: Snapshot, began: float, may_wait: bool, done: threading.Event) -> None:
        """The work of that thread; it takes over the turn of the caller."""
        try:
            row = None
            with suppress(psycopg.Error):  # without the database nobody fetches: a stampede would be worse
                row = self._refresher.refresh(seen.version, self._left_s(began) if may_wait else 0.0)
            if row is not None:
                self._snapshot = self._snapshot_of(seen, row)
            elif not may_wait:
                self._snapshot = replace(seen, due_at=max(seen.due_at, time.monotonic() + _LOOK_AGAIN_S))
        finally:
            self._refreshing.release()
            done.set()

    def _left_s(self, began: float) -> float | None:
        """How much longer a caller that came at ``began`` waits for another's fetch; None: until it has ended."""
        if not self._settings.has(Protection.FOLLOWER_BOUND):
            return None
        return max(0.0, began + self._settings.wait_timeout_s - time.monotonic())

    def _snapshot_of(self, seen: Snapshot, row: KeySetRow) -> Snapshot:
        now = time.monotonic()
        settings = self._settings
        early = random.uniform(0, settings.jitter) if settings.has(Protection.JITTER) else 0.0
        keys = import_keys(row.document) if row.document is not None else seen.keys
        return Snapshot(
            keys=keys,
            version=row.version,
            fetched_at=now + row.fresh_for_s - settings.ttl_s,
            due_at=now + row.fresh_for_s - early * settings.ttl_s,
            dead_at=now + row.fresh_for_s + settings.grace_s,
            no_fetch_before=now + row.allowed_in_s,
        )


def factory(environ: Mapping[str, str]) -> Verifier:
    """A verifier from the variables that ``JwksSettings`` names; ValueError when one is wrong."""
    return Verifier(JwksSettings.from_environ(environ))
