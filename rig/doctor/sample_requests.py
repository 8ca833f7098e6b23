"""The few events that the doctor sends, one at a time: of every class, on every route, forged ones too.

Flow: ``sample_requests`` gives what is sent, as ordinary scenarios; ``send`` sends one and says how each request was
answered; ``outcome`` says what the database must therefore hold. Bytes and expectations are the targeter's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rig.model import Forgery, Outcome, Pace, RequestClass, Scenario, Share
from rig.profile import Profile, WebhookRoute
from rig.requests.forgeries import forgeries_of
from rig.requests.sender import Credentials
from rig.requests.targeter import Targeter
from rig.target.http_probe import HttpProbe, ProbeResponse
from rig.truth.expected import RunOutcomes

TIMEOUT_S = 10.0
_REPLAYS = 3


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One kind of event on one route."""

    name: str
    scenario: Scenario


@dataclass(frozen=True, slots=True)
class SampleResult:
    """How one request was answered. ``request_class`` says what answer the profile expects."""

    route: str
    request_class: RequestClass
    seq: int
    response: ProbeResponse
    received_unix: float
    forgery: Forgery | None
    key: str
    correlation: str
    variant: int
    """Which of the ways to spoil the body it has."""

    @property
    def is_good(self) -> bool:
        """Whether it was answered 2xx."""
        return self.response.is_good

    def is_right(self, profile: Profile) -> bool:
        """Whether it is the answer in the profile."""
        return self.response.status in profile.answer(self.request_class, self.route).right


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
_NAMES = {
    Forgery.STALE: OLD_SIGNATURE,
    Forgery.FROM_FUTURE: OLD_SIGNATURE,
    Forgery.UNKNOWN_TENANT: UNKNOWN_TENANT,
    Forgery.NO_TENANT: UNKNOWN_TENANT,
}
"""What the step is called that sends them. All others are wrong signatures."""


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
    """Each kind of forged request that the route can have, once."""
    possible = forgeries_of(profile, route)
    for name in FORGED:
        shares = [
            Share(RequestClass.FORGED, 1, forgery=kind)
            for kind in possible
            if _NAMES.get(kind, WRONG_SIGNATURE) == name
        ]
        if shares:
            yield _sample_request(name, route, tenants[:1], *shares)


def _sample_request(name: str, route: WebhookRoute, tenants: Sequence[str], *shares: Share) -> SampleRequest:
    scenario = Scenario(
        id=name,
        title=name,
        step=sum(share.count for share in shares),
        route=route.name,
        tenants=tuple(tenants),
        shares=shares,
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
    targets = targeter.bind(scenario, credentials)
    results = []
    for seq in range(scenario.count):
        response = probe.send(targets.request(seq, time.time()))
        share, expected = targets.share(seq), targets.expect(seq)
        results.append(
            SampleResult(
                scenario.route, share.request_class, seq, response, time.time(), share.forgery, expected.key,
                expected.correlation, targets.variant(seq),
            )
        )  # fmt: skip
    return results


def outcome(sample_request: SampleRequest, results: Sequence[SampleResult], profile: Profile) -> RunOutcomes:
    """What the database must hold by these answers."""
    return RunOutcomes(
        sample_request.scenario, np.array([_outcome(result, profile).code for result in results], dtype=np.uint8)
    )


def _outcome(result: SampleResult, profile: Profile) -> Outcome:
    if not result.response.status:
        return Outcome.INDETERMINATE
    return Outcome.ACKNOWLEDGED if result.is_right(profile) else Outcome.REFUSED
