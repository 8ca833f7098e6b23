"""Why a target refuses an event that should be right: it is asked, with one changed request after the other.

Flow: ``find_cause`` sends the event in ``rig.requests.other_ways``. Where the target lets one in, and refuses the same
with a secret that nobody has, the change is the cause. It sends some hundred single requests at most, for some seconds.
The row of the one that is let in stays.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from hashlib import sha256

from rig.errors import ConfigError
from rig.model import Pace, RequestClass, RunKey, Scenario, Share
from rig.profile import Profile, WebhookRoute
from rig.profile.edit import Write
from rig.requests.forger import with_wrong_secrets
from rig.requests.other_ways import OtherWay, other_ways
from rig.requests.sender import Credentials
from rig.requests.targeter import Targeter
from rig.target.endpoint import Endpoint
from rig.target.http_probe import HttpProbe, ProbeResponse

REFUSALS = (401, 403)
_MAYBE_REFUSALS = (400, 422)
"""What some services answer to a wrong signature, and others to a wrong body."""
_TIMEOUT_S = 3.0
_LONGEST_S = 10.0
_PLAIN = OtherWay("")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the target said. ``cause`` is what it was found to be, with the remedy; empty where nothing was found.

    ``writes`` are what the profile must say then.
    """

    status: int
    said: str
    route: WebhookRoute
    asked: int = 0
    cause: str = ""
    writes: tuple[Write, ...] = ()

    @property
    def answer(self) -> str:
        """Status and text of the answer."""
        return f"{self.status}, saying '{self.said[:160]}'" if self.said else str(self.status)

    @property
    def remedy(self) -> str:
        """The cause, or what may be one."""
        if self.cause:
            return self.cause
        route = self.route
        if not route.needs_secret:
            return (
                "the profile says of no signature: give the route the sender or the scheme by which it signs, or check "
                "the tenant's API key (headers.tenant_key and its prefix)"
            )
        secret = f"${route.secret_env}" if route.secret_env else f"the tenant's secret {route.secret!r}"
        return (
            f"check that the target has the same secret ({secret}), the route's scheme, signed, signature_header and "
            f"signature_prefix, and headers.tenant_key and its prefix; {self.asked - 1} events that were written or "
            "signed otherwise were refused, too"
        )


def may_be_refusal(status: int) -> bool:
    """Whether a target may answer so to a wrong signature."""
    return status in REFUSALS + _MAYBE_REFUSALS


@dataclass
class _Questions:
    """Sends a valid event of one route and tenant, each with a key of its own."""

    profile: Profile
    run: RunKey
    endpoint: Endpoint
    route: WebhookRoute
    tenant: str
    credentials: Credentials
    asked: int = 0
    probe: HttpProbe = field(init=False)

    def __post_init__(self) -> None:
        self.probe = HttpProbe(self.endpoint, _TIMEOUT_S)

    def send(self, way: OtherWay, *, is_forged: bool = False) -> ProbeResponse:
        """An event that is changed so; ConfigError where the route cannot have the change."""
        own = self.credentials
        own = replace(own, secrets={name: way.secret(secret) for name, secret in own.secrets.items()})
        route = self.route.model_copy(update=dict(way.keys))
        if is_forged and route.needs_secret:
            own = with_wrong_secrets(route, own)
        elif is_forged:
            own = replace(own, api_key=sha256(own.api_key.encode()).hexdigest())
        routes = tuple(route if each.name == route.name else each for each in self.profile.routes)
        targeter = Targeter(self.profile.model_copy(update={"routes": routes}), self.run, self.endpoint.address)
        shares = (Share(RequestClass.VALID, 1),)
        scenario = Scenario("refused", "", 1, route.name, (self.tenant,), shares, Pace(1), trial=self.asked + 1)
        targets = targeter.bind(scenario, {self.tenant: own})
        request = targets.rewritten(0, time.time() + way.ahead_s, way.rewrite)
        self.asked += 1
        return self.probe.send(request)


def find_cause(
    profile: Profile, run: RunKey, endpoint: Endpoint, route: WebhookRoute, credentials: Mapping[str, Credentials]
) -> Refusal:
    """Ask the target as the first of these tenants, while its answer may be about the signature or the API key."""
    tenant = next(iter(credentials))
    questions = _Questions(profile, run, endpoint, route, tenant, credentials[tenant])
    first = questions.send(_PLAIN)
    refusal = Refusal(first.status, first.said, route)
    if not may_be_refusal(first.status):
        return refusal
    ends_s = time.monotonic() + _LONGEST_S
    for way in other_ways(profile, route, _skew_s(first)):
        try:
            answer = questions.send(way) if way.cause else first
            if not answer.status or answer.status == 429 or time.monotonic() > ends_s:
                break
            if answer.status in (*REFUSALS, first.status) or not _is_same(first, questions.send(way, is_forged=True)):
                continue
        except (ConfigError, ValueError):  # the secret is not written so, or the body is no JSON
            continue
        index = [each.name for each in profile.routes].index(route.name)
        writes = (Write(("routes", index), way.keys),) if way.mends_route else ()
        return replace(refusal, cause=way.cause, writes=writes)
    return replace(refusal, asked=questions.asked)


def _is_same(first: ProbeResponse, answer: ProbeResponse) -> bool:
    """Whether the target gives the same reason. A status that means more than one thing needs the same words."""
    return answer.status == first.status and (first.status in REFUSALS or answer.said == first.said)


def _skew_s(answer: ProbeResponse) -> float:
    """How far the target's clock is ahead, by its Date header; 0 where it has none."""
    try:
        return parsedate_to_datetime(answer.date).timestamp() - time.time()
    except (TypeError, ValueError):
        return 0.0
