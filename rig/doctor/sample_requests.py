"""The few events that the doctor sends, one at a time: of every class, on every route, forged ones too.

Flow: ``sample_requests`` gives what is sent, as ordinary scenarios; ``send`` sends one and says how each request was
answered; ``outcome`` says what the database must therefore hold. Bytes and expectations are the targeter's.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rig.model import Outcome, Pace, RequestClass, Scenario, Share
from rig.profile import Profile, WebhookRoute
from rig.requests.sender import Credentials
from rig.requests.signer import write_key
from rig.requests.targeter import Targeter, Targets
from rig.target.http_probe import HttpProbe, ProbeResponse
from rig.truth.expected import RunOutcomes

TIMEOUT_S = 10.0
_REPLAYS = 3
_AGED_S = 60
"""A signature that is older than its tolerance by this much must be refused."""

Forge = Callable[[Credentials], Credentials]


def _wrong_secrets(route: WebhookRoute) -> Forge:
    return lambda own: replace(own, secrets={name: write_key(route, secrets.token_bytes(24)) for name in own.secrets})


def _wrong_key(credentials: Credentials) -> Credentials:
    return replace(credentials, api_key=secrets.token_urlsafe(24))


def _same(credentials: Credentials) -> Credentials:
    return credentials


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One kind of event on one route. ``refused``: it is forged, and must leave no row."""

    name: str
    scenario: Scenario
    refused: bool = False
    forge: Forge = _same
    age_s: float = 0.0
    """How old its signature is when it is sent."""
    tampered: bool = False
    """Whether its body is changed after it was signed."""


@dataclass(frozen=True, slots=True)
class SampleResult:
    """How one request was answered. ``request_class`` says what answer the profile expects."""

    route: str
    request_class: RequestClass
    seq: int
    response: ProbeResponse
    received_unix: float
    refused: bool

    def is_right(self, profile: Profile) -> bool:
        """Whether it is the answer in the profile. To a forged request, any refusal is right."""
        if self.refused:
            return 400 <= self.response.status < 500
        return self.response.status in profile.answer(self.request_class).right


VALID = "a valid event"
REPLAYED = "a replayed event"
SHARED = "one key for two tenants"
MALFORMED = "a malformed event"
PERSONAL = "an event with personal data"
INVALID_JSON = "truncated JSON"
WRONG_SIGNATURE = "a wrong signature"
OLD_SIGNATURE = "an old signature"
UNKNOWN_TENANT = "an unknown tenant"
_CLASSES = {
    MALFORMED: RequestClass.MALFORMED,
    PERSONAL: RequestClass.PERSONAL,
    INVALID_JSON: RequestClass.INVALID_JSON,
}
ACCEPTED = (VALID, REPLAYED, SHARED, MALFORMED, PERSONAL, INVALID_JSON)
FORGED = (WRONG_SIGNATURE, OLD_SIGNATURE, UNKNOWN_TENANT)


def sample_requests(profile: Profile, targeter: Targeter, tenants: Sequence[str]) -> Iterator[SampleRequest]:
    """All of them, each on every route. Some need two tenants, or a signature with its time."""
    for route in profile.routes:
        valid = Share(RequestClass.VALID, 1)
        yield _sample_request(VALID, route, tenants[:1], valid)
        yield _sample_request(REPLAYED, route, tenants[:1], Share(RequestClass.REPLAY, _REPLAYS, one_key=True))
        if len(tenants) > 1:
            yield _sample_request(SHARED, route, tenants[:2], Share(RequestClass.REPLAY, 2, one_key=True))
        for name, kind in _CLASSES.items():
            if route.can_express(kind):
                yield _sample_request(name, route, tenants[:1], Share(kind, route.variants(kind)))
        yield from _forged_requests(profile, route, tenants)


def _forged_requests(profile: Profile, route: WebhookRoute, tenants: Sequence[str]) -> Iterator[SampleRequest]:
    """What the route's signature and the tenant's key keep out. Without them there is nothing to forge."""

    def forged(name: str, **more: Any) -> SampleRequest:
        plain = _sample_request(name, route, tenants[:1], Share(RequestClass.VALID, 1))
        return replace(plain, refused=True, **more)

    if route.hook is not None:
        yield forged(WRONG_SIGNATURE, tampered=True)
    elif route.is_signed:
        yield forged(WRONG_SIGNATURE, forge=_wrong_secrets(route))
    if route.max_age_s is not None:
        yield forged(OLD_SIGNATURE, age_s=route.max_age_s + _AGED_S)
    if "api_key" in route.placeholders or profile.headers.tenant_key is not None:
        yield forged(UNKNOWN_TENANT, forge=_wrong_key)


def _sample_request(name: str, route: WebhookRoute, tenants: Sequence[str], share: Share) -> SampleRequest:
    scenario = Scenario(
        id=name,
        title=name,
        step=share.count,
        route=route.name,
        tenants=tuple(tenants),
        shares=(share,),
        pace=Pace(connections=1),
        shared_key=name == SHARED,
        timeout_s=TIMEOUT_S,
    )
    return SampleRequest(name, scenario)


def send(
    sample_request: SampleRequest, targeter: Targeter, credentials: Mapping[str, Credentials], probe: HttpProbe
) -> list[SampleResult]:
    """Send the requests one after another."""
    scenario = sample_request.scenario
    own = {name: sample_request.forge(credentials[name]) for name in scenario.tenants}
    targets: Targets = targeter.bind(scenario, own, tampered=sample_request.tampered)
    results = []
    for seq in range(scenario.count):
        request = targets.request(seq, time.time() - sample_request.age_s)
        response = probe.send(request)
        request_class = targets.share(seq).request_class
        results.append(SampleResult(scenario.route, request_class, seq, response, time.time(), sample_request.refused))
    return results


def outcome(sample_request: SampleRequest, results: Sequence[SampleResult], profile: Profile) -> RunOutcomes:
    """What the database must hold by these answers. A forged request must leave as little as one that was not sent."""
    return RunOutcomes(
        sample_request.scenario, np.array([_outcome(result, profile).code for result in results], dtype=np.uint8)
    )


def _outcome(result: SampleResult, profile: Profile) -> Outcome:
    if result.refused:
        return Outcome.NOT_SENT
    if not result.response.status:
        return Outcome.INDETERMINATE
    return Outcome.ACKNOWLEDGED if result.is_right(profile) else Outcome.REFUSED
