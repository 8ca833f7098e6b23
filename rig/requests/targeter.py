"""What is sent and what the database must hold then, derived from (seed, run id, scenario, seq) alone.

Flow: ``Targeter.bind(scenario)`` gives ``Targets``; ``Targets.expect(seq)`` says what must be true in the database,
``Targets.request(seq, unix)`` makes the request's bytes, signed. Workers send those. The truth reader derives the
expectations again from the same numbers, so they need not be stored during a run. Pure: no clock, no I/O.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rig.model import RequestClass, Row, RunKey, Scenario, Share
from rig.profile import Profile, WebhookRoute
from rig.requests.address import Address
from rig.requests.body import Bodies, compile_bodies, escaper
from rig.requests.canary import Canary
from rig.requests.forger import CannotForgeError, Forger
from rig.requests.identity import Namespace, Series
from rig.requests.sender import Credentials, Render, Sender, Values, constants_of, sender_of
from rig.requests.template import CANARIES, PLACE, SLOTS, Template

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:rig:events")


class Expected(NamedTuple):
    """What one request must lead to."""

    tenant: str
    key: str
    correlation: str
    row: Row
    channel: str | None
    request_class: RequestClass


class _Form(NamedTuple):
    """What the bodies of one share have in common. They take the templates in turn."""

    templates: tuple[Template, ...]
    source: bytes
    personal: bool
    cut: bool
    differs: bool
    """Whether amount and time differ from those of the other request with the same key."""

    @classmethod
    def of(cls, share: Share, bodies: Bodies, source: bytes) -> _Form:
        kind = share.request_class
        templates = {RequestClass.MALFORMED: bodies.malformed, RequestClass.PERSONAL: bodies.personal}
        return cls(
            templates.get(kind, (bodies.valid,)),
            source,
            personal=kind is RequestClass.PERSONAL,
            cut=kind is RequestClass.INVALID_JSON,
            differs=kind is RequestClass.CONFLICT,
        )


class Composition:
    """Which share, which index and which tenant request ``seq`` of a scenario is. Arrays of shape (count,)."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        ends = list(accumulate(share.count for share in scenario.shares))
        self.starts = [0, *ends[:-1]]
        index = np.arange(scenario.count, dtype=np.int64)
        if scenario.shuffled:
            index = index[np.argsort(_splitmix64(index, seed), kind="stable")]
        self.index: NDArray[np.int64] = index
        self.share: NDArray[np.int64] = np.searchsorted(np.array(ends), index, side="right")
        self.tenant: NDArray[np.int64] = (index - np.array(self.starts)[self.share]) % len(scenario.tenants)


def _splitmix64(values: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Hash each value; SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    z = values.astype(np.uint64) + np.uint64((seed * 2 + 1) & 0xFFFF_FFFF_FFFF_FFFF)
    with np.errstate(over="ignore"):
        z = (z + np.uint64(1)) * np.uint64(0x9E37_79B9_7F4A_7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        return z ^ (z >> np.uint64(31))


class Targeter:
    """Makes the requests of one run against one profile, which stands at ``address``."""

    def __init__(self, profile: Profile, run: RunKey, address: Address = Address()) -> None:  # noqa: B008  # it is frozen
        self.profile = profile
        self.run = run
        self.address = replace(address, public_url=profile.target.public_url)
        self.namespace = Namespace(uuid.uuid5(_NAMESPACE, f"{run.seed}/{run.run_id}"))
        self._compiled: dict[tuple[str, int], _CompiledRoute] = {}

    def compile(self, route: str, credentials: Credentials) -> _CompiledRoute:
        """A route compiled for a tenant, once."""
        name = route, id(credentials)
        if name not in self._compiled:
            self._compiled[name] = _CompiledRoute.of(self, self.profile.route(route), credentials)
        return self._compiled[name]

    def bind(self, scenario: Scenario, credentials: Mapping[str, Credentials] | None = None) -> Targets:
        """The requests of one scenario. Without credentials only their expectations are available."""
        return Targets(self, scenario, credentials or {})


class Targets:
    """The requests of one scenario, by their number."""

    def __init__(self, targeter: Targeter, scenario: Scenario, credentials: Mapping[str, Credentials]) -> None:
        self.scenario = scenario
        self._run = targeter.run
        self._namespace = targeter.namespace
        self._route = targeter.profile.route(scenario.route)
        self._composition = Composition(scenario, targeter.run.seed)
        self._share: list[int] = self._composition.share.tolist()
        self._index: list[int] = self._composition.index.tolist()
        self._tenant = [scenario.tenants[number] for number in self._composition.tenant.tolist()]
        self._repeating = frozenset(number for number, share in enumerate(scenario.shares) if share.one_key)
        self._rows = {kind: targeter.profile.row(kind, scenario.route) for kind in RequestClass}
        key_step = scenario.step if scenario.key_step is None else scenario.key_step
        # A step that is spread over many tenants has other keys than the same step for one.
        spread = f"T{len(scenario.tenants)}/" if len(scenario.tenants) > 2 else ""
        self._key_prefix = f"{scenario.keys_of or scenario.id}/{key_step}/{scenario.trial}/{scenario.route}/{spread}"
        self._correlations = Series(targeter.namespace, f"{scenario.label}#")
        self._makers = {
            name: _RequestMaker(targeter, scenario, credentials, name)
            for name in scenario.tenants
            if name in credentials
        }

    @cached_property
    def composition(self) -> Composition:
        """Share, index and tenant of every request, as arrays."""
        return self._composition

    def key(self, seq: int, event: int = 0) -> str:
        """The idempotency key: UUIDv5 of (seed, run id, scenario, step, trial, route, index), and event of a batch."""
        share_number = self._share[seq]
        batch = f".{event}" if event else ""
        if share_number not in self._repeating:
            return self._namespace.name(f"{self._key_prefix}{self._index[seq]}{batch}")
        name = f"{self._key_prefix}{self._composition.starts[share_number]}{batch}"
        if not self.scenario.shared_key and len(self.scenario.tenants) > 1:
            name += f"/{self._tenant[seq]}"
        return self._namespace.name(name)

    def correlation(self, seq: int) -> str:
        """The correlation id, unique to the request."""
        return self._correlations[seq].decode()

    def canary(self, seq: int) -> Canary:
        """The personal data that request ``seq`` carries, if it is of that class."""
        return Canary.of(f"{self._run.seed}/{self._run.run_id}/{self.scenario.label}#{seq}")

    def share(self, seq: int) -> Share:
        """The share that a request belongs to."""
        return self.scenario.shares[self._share[seq]]

    def expect(self, seq: int, event: int = 0) -> Expected:
        """What request ``seq`` must lead to; of a batch, what one of its events must lead to."""
        share = self.share(seq)
        return Expected(
            self._tenant[seq],
            self.key(seq, event),
            self.correlation(seq),
            self._rows[share.request_class],
            share.channel,
            share.request_class,
        )

    def expect_all(self, seq: int) -> Iterable[Expected]:
        """What the events of request ``seq`` must lead to: one for each."""
        if self._route.events == 1:
            return (self.expect(seq),)
        return (self.expect(seq, event) for event in range(self._route.events))

    def request(self, seq: int, now: float) -> bytes:
        """Request ``seq`` as bytes, signed at ``now`` (s); KeyError when its tenant has no credentials."""
        return self._makers[self._tenant[seq]].request(self, seq, now)

    def rewritten(self, seq: int, now: float, rewrite: Callable[[bytes], bytes]) -> bytes:
        """Request ``seq`` with a body that is written otherwise before it is signed."""
        return self._makers[self._tenant[seq]].rewritten(self, seq, now, rewrite)

    def body(self, seq: int, now: float) -> bytes:
        """The body of request ``seq``, before a signature or a compression."""
        return self._makers[self._tenant[seq]].body(self, seq, now)

    def shaped(
        self, seq: int, now: float, event: Template, key: str = "", shares: tuple[str, ...] = ()
    ) -> tuple[bytes, Values]:
        """Request ``seq`` with another event, perhaps another key, and the values that the event was written with.

        ``shares``: the placeholders whose values are those of the request before it.
        """
        return self._makers[self._tenant[seq]].shaped(self, seq, now, event, key, shares)

    def place(self, seq: int) -> tuple[int, int]:
        """The share of request ``seq``, and its index in it."""
        return self._share[seq], self._index[seq]

    def variant(self, seq: int) -> int:
        """Which of the bodies of its class request ``seq`` has; the first where they are all alike."""
        return self._index[seq] % max(1, self._route.variants(self.share(seq).request_class))


@dataclass(frozen=True, slots=True)
class _CompiledRoute:
    """A route for one tenant. It keeps the credentials, so that their identity stays theirs."""

    credentials: Credentials
    sender: Sender
    bodies: Bodies
    escape: Callable[[str], bytes]
    events: int

    @classmethod
    def of(cls, targeter: Targeter, route: WebhookRoute, credentials: Credentials) -> _CompiledRoute:
        bodies = compile_bodies(route, constants_of(route, credentials))
        sender = sender_of(targeter.profile, route, credentials, targeter.address)
        return cls(credentials, sender, bodies, escaper(route), route.events)


class _RequestMaker:
    """Makes the requests of a scenario for one tenant."""

    def __init__(
        self, targeter: Targeter, scenario: Scenario, credentials: Mapping[str, Credentials], tenant: str
    ) -> None:
        route = targeter.compile(scenario.route, credentials[tenant])
        self._started_unix = targeter.run.started_unix
        self._sender, self._envelope, self._events = route.sender, route.bodies.envelope, route.events
        default = targeter.profile.default_source
        self._forms = [
            _Form.of(share, route.bodies, route.escape(share.source or default)) for share in scenario.shares
        ]
        templates = [template for form in self._forms for template in form.templates]
        self._forgers = _forgers(targeter, scenario, credentials, tenant)
        slots = self._sender.slots.union(*(template.slots for template in templates))
        slots |= self._envelope.slots if self._envelope is not None else frozenset()
        self._fill: list[Callable[[Values], None]] = [fill for slot, fill in FILL.items() if slot in slots]

    def request(self, targets: Targets, seq: int, now: float) -> bytes:
        if self._forgers and (forger := self._forgers.get(targets.place(seq)[0])) is not None:
            return forger.request(partial(self._prepare_forged, targets, seq), now)
        values, render = self._prepare(targets, seq, now)
        return self._sender.request(values, now, render)

    def rewritten(self, targets: Targets, seq: int, now: float, rewrite: Callable[[bytes], bytes]) -> bytes:
        values, render = self._prepare(targets, seq, now)
        return self._sender.request(values, now, lambda own: rewrite(render(own)))

    def _prepare_forged(
        self, targets: Targets, seq: int, now: float, *, differs: bool = False, other: bool = False
    ) -> tuple[Values, Render]:
        if other and targets.scenario.count == 1:
            raise CannotForgeError("there is no other event")
        return self._prepare(targets, (seq + 1) % targets.scenario.count if other else seq, now, differs=differs)

    def body(self, targets: Targets, seq: int, now: float) -> bytes:
        values, render = self._prepare(targets, seq, now)
        return render(values)

    def shaped(
        self, targets: Targets, seq: int, now: float, event: Template, key: str, shares: tuple[str, ...]
    ) -> tuple[bytes, Values]:
        form = self._forms[targets.place(seq)[0]]
        values = self._values(targets, seq, 0, form, now)
        if key:
            values[_KEY] = key.encode()
        if shares:
            before = self._values(targets, seq - 1, 0, form, now)
            for name in shares:
                values[PLACE[name]] = before[PLACE[name]]
            for fill in self._fill:
                fill(values)

        def render(own: Values) -> bytes:
            return self._write(targets, seq, own, form, event, now)

        return self._sender.request(values, now, render), values

    def _prepare(self, targets: Targets, seq: int, now: float, *, differs: bool = False) -> tuple[Values, Render]:
        """The values of the request, and what writes its body from them."""
        share, index = targets.place(seq)
        form = self._forms[share]
        if differs:
            form = form._replace(differs=True)
        template = form.templates[index % len(form.templates)]
        values = self._values(targets, seq, 0, form, now)
        if self._envelope is None and not form.cut:
            return values, template.render
        return values, lambda own: self._write(targets, seq, own, form, template, now)

    def _write(self, targets: Targets, seq: int, values: Values, form: _Form, template: Template, now: float) -> bytes:
        body = template.render(values)
        if self._envelope is not None:
            others = (self._values(targets, seq, event, form, now) for event in range(1, self._events))
            values[_EVENTS] = b",".join([body, *map(template.render, others)])
            body = self._envelope.render(values)
        # Cutting an object off anywhere before its closing brace leaves invalid JSON.
        return body[: max(1, len(body) * 3 // 5)] if form.cut else body

    def _values(self, targets: Targets, seq: int, event: int, form: _Form, now: float) -> Values:
        key = targets.key(seq, event).encode()
        values: Values = list(_EMPTY)
        plain = key.replace(b"-", b"")
        # Amount, time and number follow from the key, so that replays have the same body.
        bits = int(plain[:12], 16)
        values[_EVENT], values[_NUMBER], values[_KEY] = plain, bits, key
        bits += form.differs * _OTHER
        values[_AMOUNT], values[_SOURCE] = 100 + bits % 99_900, form.source
        values[_UNIX], values[_NOW] = self._started_unix - (bits >> 20) % 3600, int(now)
        values[_CORRELATION], values[_NOW_MS] = targets.correlation(seq).encode(), int(now * 1000)
        for fill in self._fill:
            fill(values)
        if form.personal:
            canary = targets.canary(seq).values()
            for slot in CANARIES:
                values[PLACE[slot]] = canary[slot].encode()
        return values


def _forgers(
    targeter: Targeter, scenario: Scenario, credentials: Mapping[str, Credentials], tenant: str
) -> dict[int, Forger]:
    """What makes the requests of the forged shares, by the number of the share."""
    profile, own = targeter.profile, credentials[tenant]
    other = next((each for name, each in credentials.items() if name != tenant), None)
    route = profile.route(scenario.route)
    return {
        number: Forger(profile, route, own, other, targeter.address, share.forgery)
        for number, share in enumerate(scenario.shares)
        if share.forgery is not None
    }


_OTHER = (1 << 20) + 1
"""Added to the bits of a key, it changes the amount by one and the time by a second."""
_EMPTY = [b""] * len(SLOTS)
_EVENT, _NUMBER, _AMOUNT, _DECIMAL, _UNIX, _UNIX_MS, _ISO, _SOURCE, _CORRELATION, _KEY, _NOW, _NOW_MS, _NOW_ISO = (
    PLACE[slot]
    for slot in (
        "event", "number", "amount", "decimal", "unix", "unix_ms", "iso", "source", "correlation", "key", "now",
        "now_ms", "now_iso",
    )
)  # fmt: skip
_EVENTS = PLACE["events"]


def _iso(unix: object) -> bytes:
    return datetime.fromtimestamp(int(unix), UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()  # type: ignore[call-overload]


def _fill_decimal(values: Values) -> None:
    values[_DECIMAL] = b"%d.%02d" % divmod(values[_AMOUNT], 100)  # type: ignore[operator]


def _fill_unix_ms(values: Values) -> None:
    values[_UNIX_MS] = values[_UNIX] * 1000 + values[_NUMBER] % 1000  # type: ignore[operator]


def _fill_iso(values: Values) -> None:
    values[_ISO] = _iso(values[_UNIX])


def _fill_now_iso(values: Values) -> None:
    values[_NOW_ISO] = _iso(values[_NOW])


FILL: Mapping[str, Callable[[Values], None]] = {
    "decimal": _fill_decimal,
    "unix_ms": _fill_unix_ms,
    "iso": _fill_iso,
    "now_iso": _fill_now_iso,
}
"""Values that few bodies need: how each follows from the others."""
