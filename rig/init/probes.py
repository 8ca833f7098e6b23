"""Sends a handful of marked events to a service that runs, and watches which rows come.

Flow: ``plan`` says what would be sent. ``probe``: tenants → valid events, looked for after each answer → replays → wait
until no more rows come → wrong events of each kind → one forged request → ``mapping.find``. Whatever happens, the rows
of the probes are taken back. One request at a time, to this machine only.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

import psycopg

from rig.errors import Unavailable
from rig.init.columns import SentEvent
from rig.init.found import Found
from rig.init.mapping import Observation, ProbedEvent, find, is_settled, marks_of
from rig.init.new_rows import NewRows, watch
from rig.model import Pace, RequestClass, Scenario, Share
from rig.profile import Profile
from rig.requests.forgeries import forgeries_of
from rig.requests.identity import draw_run_key
from rig.requests.targeter import Targeter, Targets
from rig.target.endpoint import Endpoint, TlsFiles
from rig.target.http_probe import HttpProbe, ProbeResponse
from rig.target.tenants import Tenancy, check_tenants, provision
from rig.truth.session import in_words

_REQUEST_TIMEOUT_S = 10.0
_EVENTS_OF_TENANT = 3
_REPLAYS = 3
_POLL_S = 0.2
_QUIET_S, _QUIET_UNCERTAIN_S, _WAIT_MOST_S = 0.6, 5.0, 20.0
_WORDS = {
    RequestClass.VALID: "valid events", RequestClass.REPLAY: "one event again", RequestClass.MALFORMED: "wrong events",
    RequestClass.INVALID_JSON: "truncated JSON", RequestClass.FORGED: "forged requests",
}  # fmt: skip
_LATE_LEAST_S = 0.1
"""A row that comes sooner after its answer comes from no queue, but where the answer is 202 (RFC 9110, 15.3.3)."""


def plan(profile: Profile) -> str:
    """What ``probe`` does, in words."""
    makes = f"makes {len(profile.first_tenants)} tenants; " if profile.tenants.are_made else ""
    route = profile.routes[0]
    sent = ", ".join(f"{_WORDS[share.request_class]} {share.count}" for share in _shares(profile))
    return (
        f"{makes}sends to {profile.target.base_url}{route.path}, one after the other: {sent}. The service acts on them "
        "as on real events. Rows that they added are removed afterwards; what cannot be removed is named"
    )


def probe(profile: Profile, dsn: str, environ: Mapping[str, str], say: Callable[[str], None]) -> Found:
    """Probe the service of a profile whose tables are not known yet; ``say`` gets what of it stays in the database.

    ConfigError or Unavailable says why nothing could be sent: nobody listens, a secret is missing, no connection.
    """
    endpoint = Endpoint.parse(profile.target.base_url or "", TlsFiles.of(profile.target)).check_and_pin(None)
    http = HttpProbe(endpoint, _REQUEST_TIMEOUT_S)
    if problem := http.connect().problem:
        raise Unavailable(f"nobody listens at {profile.target.base_url}: {problem}; start the service")
    names = profile.first_tenants
    check_tenants(profile, names, environ)
    run = draw_run_key(0)
    sent: list[str] = []
    made: list[str] = []
    try:
        with watch(dsn, f"${profile.truth.dsn_env}") as rows:
            try:
                tenancy = provision(profile, run, names, dsn, environ)
                made += _marks_of_tenants(tenancy) if profile.tenants.are_made else []
                prober = _Prober(profile, Targeter(profile, run, endpoint.address), tenancy, http, rows, sent)
                found = find(prober.observe())
            finally:
                for reason, count in rows.remove([*sent, *made]).items():
                    say(f"{count} rows stay in {reason}")
            if found.answers.get("dead-match") == "count" and not profile.tenants.are_made:
                say(f"the dead letters of the probes stay in {found.answers['dead-table']}: no column names them")
            return found
    except psycopg.Error as error:
        left = "; rows of the probes may stay there" if sent or made else ""
        raise Unavailable(f"the database of ${profile.truth.dsn_env}: {in_words(error)}{left}") from None


def _shares(profile: Profile) -> list[Share]:
    """What is sent, in this order."""
    route = profile.routes[0]
    wrong = [kind for kind in (RequestClass.MALFORMED, RequestClass.INVALID_JSON) if route.can_express(kind)]
    return [
        Share(RequestClass.VALID, _EVENTS_OF_TENANT * len(profile.first_tenants)),
        Share(RequestClass.REPLAY, _REPLAYS, one_key=True),
        *(Share(kind, max(1, route.variants(kind))) for kind in wrong),
        *(Share(RequestClass.FORGED, 1, forgery=kind) for kind in forgeries_of(profile, route)[:1]),
    ]


class _Prober:
    """Sends and watches."""

    def __init__(
        self, profile: Profile, targeter: Targeter, tenancy: Tenancy, http: HttpProbe, rows: NewRows, marks: list[str]
    ) -> None:
        self._profile, self._targeter, self._tenancy, self._http, self._rows = profile, targeter, tenancy, http, rows
        self._tenants = {tenant.name: tenant for tenant in tenancy.tenants}
        self._marks = marks
        self._events: list[ProbedEvent] = []
        self._answered_s: dict[str, float] = {}
        self._come: dict[tuple[str, str], float | None] = {}
        self._missed: set[str] = set()
        self._nameless: dict[RequestClass, Mapping[str, int]] = {}
        self._numbers: Counter[str] = Counter()

    def observe(self) -> Observation:
        for share in _shares(self._profile):
            if share.request_class in (RequestClass.MALFORMED, RequestClass.INVALID_JSON):
                self._send_wrong(share)
            else:
                self._send(share)
            if share.request_class is RequestClass.REPLAY:
                self._wait()
        return self._seen()

    def _send_wrong(self, share: Share) -> None:
        """Send wrong events, and count the rows that come then and name none of them."""
        before = self._rows.count_unmarked(self._marks)
        self._send(share)
        if lag_s := max(self._lags().values(), default=0.0):
            time.sleep(2 * lag_s + _QUIET_S)
        after = self._rows.count_unmarked(self._marks)
        self._nameless[share.request_class] = {name: count - before.get(name, 0) for name, count in after.items()}

    def _seen(self) -> Observation:
        rows = self._rows.find_marked(self._marks)
        own = {str(row.table) for row in rows}
        referring = {str(row.table) for row in self._rows.find_referring(rows)}
        return Observation(
            self._profile,
            tuple(self._events),
            tuple(rows),
            self._nameless,
            self._lags(),
            tuple(self._rows.unread),
            tuple(sorted(referring - own)),
        )

    def _send(self, share: Share) -> None:
        is_right = share.request_class in (RequestClass.VALID, RequestClass.REPLAY)
        route, names = self._profile.routes[0], tuple(self._tenants)
        names = names if share.request_class is RequestClass.VALID else names[:1]
        title = f"probe {share.request_class.value}"
        scenario = Scenario(title, "", share.count, route.name, names, (share,), Pace(1))
        targets = self._targeter.bind(scenario, self._tenancy.credentials)
        for seq in range(share.count):
            now = time.time()
            request, body = targets.request(seq, now), targets.body(seq, now)
            for expected in (targets.expect(seq, number) for number in range(route.events)):
                self._marks += marks_of(expected.key, expected.correlation)
            self._note(targets, seq, self._http.send(request), body)
            if is_right:
                self._look()

    def _note(self, targets: Targets, seq: int, response: ProbeResponse, body: bytes) -> None:
        route, answered_s = self._profile.routes[0], time.monotonic()
        for number, document in enumerate(_documents(route.format, body, route.events)):
            expected = targets.expect(seq, number)
            key = expected.key
            self._answered_s.setdefault(key, answered_s)
            text = body.decode(errors="replace") if route.events == 1 else ""
            self._events.append(
                ProbedEvent(
                    expected.request_class, self._tenants[expected.tenant], key, expected.correlation,
                    SentEvent(text, document), targets.variant(seq),
                    self._numbers[key], response.status, response.said or response.problem,
                )
            )  # fmt: skip
            self._numbers[key] += 1

    def _look(self) -> bool:
        """Note which rows are there now; whether any is new. A row is late if an earlier look missed it."""
        rows, before = self._rows.find_marked(self._marks), len(self._come)
        now_s = time.monotonic()
        for row in rows:
            for event in self._events:
                if event.is_in(row):
                    self._come.setdefault((str(row.table), event.key), now_s if event.key in self._missed else None)
        self._missed |= self._answered_s.keys()
        return len(self._come) > before

    def _wait(self) -> None:
        """Until the rows of all events are there, or no more come."""
        if not any(event.is_accepted for event in self._events):
            return
        began_s = quiet_since_s = time.monotonic()
        while time.monotonic() - began_s < _WAIT_MOST_S or time.monotonic() - quiet_since_s < _QUIET_S:
            if self._look():
                quiet_since_s = time.monotonic()
            quiet_s = time.monotonic() - quiet_since_s
            if (quiet_s >= _QUIET_UNCERTAIN_S and self._come) or (quiet_s >= _QUIET_S and is_settled(self._seen())):
                return
            time.sleep(_POLL_S)

    def _lags(self) -> dict[str, float]:
        return lags_of(self._come, self._answered_s, {event.status for event in self._events})


def lags_of(
    come_s: Mapping[tuple[str, str], float | None], answered_s: Mapping[str, float], statuses: Collection[int]
) -> dict[str, float]:
    """Of each table: how long its last row took, where a queue stored it.

    ``come_s``: when the row of a table and key was first seen, None where it was there at the first look.
    """
    lags: dict[str, float] = defaultdict(float)
    for (table, key), seen_s in come_s.items():
        lags[table] = max(lags[table], (seen_s or 0.0) - answered_s[key])
    least_s = 0.0 if 202 in statuses else _LATE_LEAST_S
    return {table: lag_s for table, lag_s in lags.items() if lag_s > least_s}


def _marks_of_tenants(tenancy: Tenancy) -> list[str]:
    """What only the row of a tenant of the probes can hold."""
    keys = [credentials.api_key for credentials in tenancy.credentials.values()]
    return [*(tenant.id for tenant in tenancy.tenants if len(tenant.id) == 36), *keys,
            *(sha256(key.encode()).hexdigest() for key in keys)]  # fmt: skip


def _documents(form: str, body: bytes, events: int) -> Iterable[Any]:
    """The document of each event of a request; None where it has none."""
    text = body.decode(errors="replace")
    if form == "form":
        return [dict(parse_qsl(text, keep_blank_values=True))] * events
    try:
        document = json.loads(text, parse_float=Decimal) if form == "json" else None
    except ValueError:
        document = None
    if events == 1:
        return [document]
    lists = [document] if isinstance(document, list) else document.values() if isinstance(document, dict) else []
    return next((each for each in lists if isinstance(each, list) and len(each) == events), [None] * events)
