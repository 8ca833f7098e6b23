"""What is sent and what the database must hold then, derived from (seed, run id, scenario, seq) alone.

Flow: ``Targeter.bind(scenario)`` gives ``Targets``; ``Targets.expect(seq)`` says what must be true in the database,
``Targets.request(seq, unix)`` makes the request's bytes, signed. Workers send those. The truth reader derives the
expectations again from the same numbers, so they need not be stored during a run. Pure: no clock, no I/O.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rig.model import RequestClass, Row, RunKey, Scenario, Share
from rig.profile import Profile
from rig.requests.body import CANARIES, Bodies, Template, compile_bodies
from rig.requests.canary import Canary
from rig.requests.identity import Namespace, Series
from rig.requests.signer import Sign, signer

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:rig:events")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The secrets of a tenant. They stay in memory and have no repr, so that they cannot reach a log."""

    api_key: str
    secrets: Mapping[str, str]
    """Webhook secrets by the names that the routes use."""


class Expected(NamedTuple):
    """What one request must lead to."""

    tenant: str
    key: str
    correlation: str
    row: Row
    channel: str | None
    request_class: RequestClass


@dataclass(frozen=True, slots=True)
class _Form:
    """What the bodies of one share have in common. They take the templates in turn."""

    templates: tuple[Template, ...]
    source: bytes
    personal: bool
    cut: bool

    @classmethod
    def of(cls, share: Share, bodies: Bodies, default_source: str) -> _Form:
        match share.request_class:
            case RequestClass.MALFORMED:
                templates = bodies.malformed
            case RequestClass.PERSONAL:
                templates = bodies.personal
            case _:
                templates = (bodies.valid,)
        return cls(
            templates,
            _escape_json(share.source or default_source),
            personal=share.request_class is RequestClass.PERSONAL,
            cut=share.request_class is RequestClass.INVALID_JSON,
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


def _escape_json(text: str) -> bytes:
    """The text as it is written between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


def _splitmix64(values: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Hash each value; SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    z = values.astype(np.uint64) + np.uint64((seed * 2 + 1) & 0xFFFF_FFFF_FFFF_FFFF)
    with np.errstate(over="ignore"):
        z = (z + np.uint64(1)) * np.uint64(0x9E37_79B9_7F4A_7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        return z ^ (z >> np.uint64(31))


class Targeter:
    """Makes the requests of one run against one profile. ``host`` is the Host header's value."""

    def __init__(self, profile: Profile, run: RunKey, *, host: str = "", base_path: str = "") -> None:
        self.profile = profile
        self.run = run
        self.host = host
        self.base_path = base_path
        self.namespace = Namespace(uuid.uuid5(_NAMESPACE, f"{run.seed}/{run.run_id}"))
        self._bodies: dict[str, Bodies] = {}

    def bind(self, scenario: Scenario, credentials: Mapping[str, Credentials] | None = None) -> Targets:
        """The requests of one scenario. Without credentials only their expectations are available."""
        return Targets(self, scenario, credentials or {})

    def bodies(self, route: str) -> Bodies:
        """The compiled bodies of a route."""
        if route not in self._bodies:
            self._bodies[route] = compile_bodies(self.profile.route(route))
        return self._bodies[route]


class Targets:
    """The requests of one scenario, by their number."""

    def __init__(self, targeter: Targeter, scenario: Scenario, credentials: Mapping[str, Credentials]) -> None:
        self.scenario = scenario
        self._profile = targeter.profile
        self._run = targeter.run
        self._namespace = targeter.namespace
        self._route = targeter.profile.route(scenario.route)
        bodies = targeter.bodies(scenario.route)
        self._forms = [_Form.of(share, bodies, targeter.profile.default_source) for share in scenario.shares]
        self._composition = Composition(scenario, targeter.run.seed)
        self._share: list[int] = self._composition.share.tolist()
        self._index: list[int] = self._composition.index.tolist()
        self._tenant = [scenario.tenants[number] for number in self._composition.tenant.tolist()]
        self._repeating = frozenset(number for number, share in enumerate(scenario.shares) if share.one_key)
        self._rows = {kind: targeter.profile.answer(kind).row for kind in RequestClass}
        key_step = scenario.step if scenario.key_step is None else scenario.key_step
        # A step that is spread over many tenants has other keys than the same step for one.
        spread = f"T{len(scenario.tenants)}/" if len(scenario.tenants) > 2 else ""
        self._key_prefix = f"{scenario.id}/{key_step}/{scenario.trial}/{scenario.route}/{spread}"
        self._correlations = Series(targeter.namespace, f"{scenario.label}#")
        self._senders = {
            name: (self._message(targeter, credentials[name]), self._signer(credentials[name]))
            for name in scenario.tenants
            if name in credentials
        }
        self._stamped = self._route.timestamp_header is not None

    def _message(self, targeter: Targeter, credentials: Credentials) -> bytes:
        """A tenant's requests as a %-format with holes for key, correlation id, (time,) signature, length and body."""
        headers, route = self._profile.headers, self._route
        head = (
            f"POST {targeter.base_path}{route.path} HTTP/1.1\r\nHost: {targeter.host}\r\n"
            f"Content-Type: {route.content_type}\r\n"
            f"{headers.tenant_key}: {headers.tenant_key_prefix}{credentials.api_key}\r\n"
        )
        holes = [(headers.idempotency_key, "%b"), (headers.correlation_id, "%b")]
        if route.timestamp_header is not None:
            holes.append((route.timestamp_header, "%d"))
        holes += [(route.signature_header, "%b"), ("Content-Length", "%d")]
        return (
            head.replace("%", "%%") + "".join(f"{name.replace('%', '%%')}: {hole}\r\n" for name, hole in holes)
        ).encode() + b"\r\n%b"

    def _signer(self, credentials: Credentials) -> Sign:
        return signer(self._route, credentials.secrets[self._route.secret].encode())

    @cached_property
    def composition(self) -> Composition:
        """Share, index and tenant of every request, as arrays."""
        return self._composition

    def key(self, seq: int) -> str:
        """The idempotency key: UUIDv5 of (seed, run id, scenario, step, trial, route, index)."""
        share_number = self._share[seq]
        if share_number not in self._repeating:
            return self._namespace.name(f"{self._key_prefix}{self._index[seq]}")
        name = f"{self._key_prefix}{self._composition.starts[share_number]}"
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

    def expect(self, seq: int) -> Expected:
        """What request ``seq`` must lead to."""
        share = self.share(seq)
        return Expected(
            self._tenant[seq],
            self.key(seq),
            self.correlation(seq),
            self._rows[share.request_class],
            share.channel,
            share.request_class,
        )

    def request(self, seq: int, unix: int) -> bytes:
        """Request ``seq`` as bytes, signed at ``unix`` (s); KeyError when its tenant has no credentials."""
        key = self.key(seq).encode()
        correlation = self._correlations[seq]
        body = self._body(seq, key, correlation)
        message, sign = self._senders[self._tenant[seq]]
        signature = sign(body, unix)
        if self._stamped:
            return message % (key, correlation, unix, signature, len(body), body)
        return message % (key, correlation, signature, len(body), body)

    def body(self, seq: int) -> bytes:
        """The body of request ``seq``."""
        return self._body(seq, self.key(seq).encode(), self._correlations[seq])

    def _body(self, seq: int, key: bytes, correlation: bytes) -> bytes:
        form = self._forms[self._share[seq]]
        template = form.templates[self._index[seq] % len(form.templates)]
        event = key.replace(b"-", b"")
        # Amount, time and number follow from the key, so that replays have the same body.
        bits = int(event[:12], 16)
        amount = 100 + bits % 99_900
        unix = self._run.started_unix - (bits >> 20) % 3600
        decimal = iso = b""
        if "decimal" in template.slots:
            decimal = b"%d.%02d" % divmod(amount, 100)
        if "iso" in template.slots:
            iso = datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
        canaries: tuple[bytes, ...] = ()
        if form.personal:
            canary = self.canary(seq).values()
            canaries = tuple(canary[slot].encode() for slot in CANARIES)
        # In the order of rig.requests.body.SLOTS.
        body = template.render((event, bits, amount, decimal, unix, iso, form.source, correlation, key, *canaries))
        # Cutting an object off anywhere before its closing brace leaves invalid JSON.
        return body[: max(1, len(body) * 3 // 5)] if form.cut else body
