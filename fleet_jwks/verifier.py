"""How a token is verified: with a key from memory; where that is missing or due, after a refresh.

One thread of a process refreshes at a time. ``Snapshot`` is what the process knows. It is replaced as a whole, so that
readers need no lock.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any

from joserfc.jwk import Key

from fleet_jwks.errors import FleetUnavailable, KeysUnavailable, Refused
from fleet_jwks.fleet import KeyFleet, KeySetRow
from fleet_jwks.keys import claims_of, import_keys, kid_of
from fleet_jwks.settings import JwksSettings, Protection

_log = logging.getLogger("fleet_jwks")
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

    def __init__(self, settings: JwksSettings, fleet: KeyFleet | None = None) -> None:
        """``fleet``: the one over PostgreSQL where none is given."""
        self._settings = settings
        self._fleet = _over_postgres(settings) if fleet is None else fleet
        self._refreshing = threading.Lock()
        self._snapshot = Snapshot()
        self._counts: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._is_alone = False

    @property
    def fetches(self) -> int:
        """Fetches that this process made."""
        return self._fleet.fetches

    def counts(self) -> dict[str, int]:
        """Tokens ``verified``, ``refused`` and ``unavailable``; ``fetches``; ``fleet_errors``: no answer of a store."""
        with self._counting:
            counted = dict(self._counts)
        names = ("verified", "refused", "unavailable", "fleet_errors")
        return {name: counted.get(name, 0) for name in names} | {"fetches": self.fetches}

    def __call__(self, token: str) -> Mapping[str, Any]:
        """The claims of a valid token; raises Refused or KeysUnavailable."""
        claims = self._verify(token, may_wait=True)
        assert claims is not None  # whoever may wait gets claims or an exception
        return claims

    def at_once(self, token: str) -> Mapping[str, Any] | None:
        """As a call, but None where that would wait for keys."""
        return self._verify(token, may_wait=False)

    def key(self, kid: str) -> Key:
        """The key of that id, for a library that verifies itself; raises Refused or KeysUnavailable."""
        snapshot = self._snapshot_for(kid, may_wait=True)
        assert snapshot is not None
        return self._key_of(snapshot, kid)

    def close(self) -> None:
        """Close the connection to the database."""
        self._fleet.close()

    def _verify(self, token: str, *, may_wait: bool) -> Mapping[str, Any] | None:
        try:
            kid = kid_of(token)
            snapshot = self._snapshot_for(kid, may_wait=may_wait)
            if snapshot is None:
                return None
            claims = claims_of(token, self._key_of(snapshot, kid), self._settings)
        except Refused:
            self._count("refused")
            raise
        except KeysUnavailable:
            self._count("unavailable")
            raise
        self._count("verified")
        return claims

    def _key_of(self, snapshot: Snapshot, kid: str) -> Key:
        key = snapshot.keys.get(kid)
        if not snapshot.keys or time.monotonic() >= snapshot.dead_at:
            raise KeysUnavailable("there is no key set that may still be used")
        if key is None:
            raise Refused(f"the key set of version {snapshot.version} holds no key {kid!r}")
        return key

    def _count(self, what: str) -> None:
        with self._counting:
            self._counts[what] += 1

    def _snapshot_for(self, kid: str, *, may_wait: bool) -> Snapshot | None:
        """What the process knows; where that key is missing or due, what the fleet knows.

        None where that must be waited for, and the caller may not.
        """
        seen, began = self._snapshot, time.monotonic()
        is_missing = kid not in seen.keys
        if not (is_missing or began >= seen.due_at) or began < seen.no_fetch_before:
            return seen
        must_wait = is_missing or began >= seen.dead_at
        if must_wait and not may_wait:
            return None
        found = self._refresh(seen, began, may_wait=must_wait)
        if kid in found.keys or found is seen or found.fetched_at >= began or time.monotonic() < found.no_fetch_before:
            return found
        # Another process fetched that before this token came. The key may be newer still.
        if not may_wait:
            return None
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
            row = self._ask(seen.version, self._left_s(began) if may_wait else 0.0)
            if row is not None:
                self._snapshot = self._snapshot_of(seen, row)
            elif not may_wait:
                self._snapshot = replace(seen, due_at=max(seen.due_at, time.monotonic() + _LOOK_AGAIN_S))
        finally:
            self._refreshing.release()
            done.set()

    def _ask(self, known: int, wait_timeout_s: float | None) -> KeySetRow | None:
        """What the fleet says; None without its store. Then nobody fetches: a stampede would be worse."""
        try:
            row = self._fleet.refresh(known, wait_timeout_s)
        except FleetUnavailable as error:
            self._count("fleet_errors")
            if not self._is_alone:
                _log.warning("the fleet's store does not answer, so nobody fetches keys: %s", error)
            self._is_alone = True
            return None
        if self._is_alone:
            _log.info("the fleet's store answers again")
        self._is_alone = False
        return row

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


def _over_postgres(settings: JwksSettings) -> KeyFleet:
    """Imported here: psycopg takes longer to import than all else, and a fleet of another kind does without."""
    from fleet_jwks.refresh import Refresher
    from fleet_jwks.upstream import upstream

    return Refresher(settings, upstream(settings))


def factory(environ: Mapping[str, str]) -> Verifier:
    """A verifier from the variables that ``JwksSettings`` names; ValueError when one is wrong."""
    return Verifier(JwksSettings.from_environ(environ))
