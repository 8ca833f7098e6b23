"""What every worker of one test must know: the run, the target, the tenants' credentials, its own number.

The coordinator makes it, the master hands it to each worker with that worker's number, over a line that is
encrypted and open only to workers that know the master's key (``keys``).
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Self, cast

from pydantic import TypeAdapter, ValidationError

from rig.errors import ConfigError
from rig.limits import RATE_CEILING_PER_S, REQUESTS_CEILING
from rig.model import RequestClass, RunKey, Scenario, UserClass
from rig.profile import Profile
from rig.requests.sender import Credentials
from rig.target.endpoint import Endpoint, TlsFiles

TIMEOUT_S = 10.0


def sendable_classes(mix: Iterable[UserClass], sends: Container[RequestClass]) -> tuple[UserClass, ...]:
    """The user classes without the streams that a target cannot be sent; those that have none left are left out."""
    kept = [
        replace(each, streams=tuple(stream for stream in each.streams if stream.request_class in sends)) for each in mix
    ]
    return tuple(each for each in kept if each.streams)


def sendable_scenario(scenario: Scenario, sends: Container[RequestClass]) -> Scenario:
    """The same number of requests, with valid ones in place of those that a target cannot be sent."""
    missing = sum(share.count for share in scenario.shares if share.request_class not in sends)
    shares = [
        replace(share, count=share.count + missing) if share.request_class is RequestClass.VALID else share
        for share in scenario.shares
        if share.request_class in sends
    ]
    return replace(scenario, shares=tuple(shares))


class _Order:
    """What a master sends a worker, as a dataclass."""

    __slots__ = ()

    def to_wire(self) -> dict[str, Any]:
        """As msgpack and JSON take it. Holds credentials: never to be written anywhere."""
        document: dict[str, Any] = _adapter(cast(Any, type(self))).dump_python(self, mode="json")
        return document

    @classmethod
    def from_wire(cls, document: Any) -> Self:
        """ConfigError where it is none; what it holds is not repeated, for the secrets in it."""
        try:
            return cast(Self, _adapter(cast(Any, cls)).validate_python(document))
        except ValidationError as error:
            places = {".".join(map(str, fault["loc"])) for fault in error.errors(include_input=False)}
            raise ConfigError(f"the master's plan cannot be read ({', '.join(sorted(places))})") from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@dataclass(frozen=True, slots=True)
class LocustPlan(_Order):
    """One test. ``worker`` of ``workers`` is the reader's own number; ``rate_per_user_s`` 0 is the closed loop.

    ``most_requests`` and ``most_rate_per_s`` are ceilings on the whole test, the latter where users have a rate;
    ``addresses`` are the target's, as this worker found them. A ``late`` worker came when ``fixed`` was shared out.
    """

    locust: str
    run: RunKey
    profile: Profile
    url: str
    route: str
    tenant: str
    credentials: Mapping[str, Credentials] = field(repr=False)
    user_classes: tuple[UserClass, ...] = ()
    fixed_class: str = ""
    """The user class whose users share the requests of ``fixed``."""
    fixed: Scenario | None = None
    rate_per_user_s: float = 0.0
    timeout_s: float = TIMEOUT_S
    most_requests: int = REQUESTS_CEILING
    most_rate_per_s: float = RATE_CEILING_PER_S
    worker: int = 0
    workers: int = 1
    late: bool = False
    addresses: tuple[str, ...] = ()

    @property
    def endpoint(self) -> Endpoint:
        """Where the target listens."""
        return replace(Endpoint.parse(self.url, TlsFiles.of(self.profile.target)), addresses=self.addresses)

    def pin(self, allow_host: str | None) -> LocustPlan:
        """The same, bound to what the target's host means now, whatever the master says; ConfigError if forbidden."""
        return replace(self, addresses=self.endpoint.check_and_pin(allow_host).addresses)

    @property
    def own_share(self) -> int:
        """How many requests this worker may send beside those of fixed count: an even share of what the ceiling leaves.

        So nobody has to ask for more; who comes when all was shared out gets a share too, and the master looks.
        """
        left = self.most_requests - (self.fixed.count if self.fixed is not None else 0)
        return left // self.workers

    @property
    def fixed_share(self) -> int:
        """How many of the requests of fixed count are this worker's: every ``workers``-th of them."""
        return 0 if self.fixed is None else len(range(self.worker, self.fixed.count, self.workers))

    def period_ns(self, users: int) -> int:
        """Between two requests of a user, when this worker has so many; 0 is the closed loop.

        Longer than was asked for where all of them would exceed an even share of the ceiling on the rate.
        """
        if not self.rate_per_user_s:
            return 0
        return math.ceil(1e9 * max(1 / self.rate_per_user_s, users * self.workers / self.most_rate_per_s))

    def of_worker(self, worker: int, workers: int) -> LocustPlan:
        """The same for another worker."""
        return replace(self, worker=worker, workers=workers)


@dataclass(frozen=True, slots=True)
class CertificationOrder(_Order):
    """What a worker needs to measure its own client: ``settings`` is the document of the run's, ``routes`` are its."""

    run: RunKey
    profile: Profile
    settings: Mapping[str, Any]
    routes: tuple[str, ...]
