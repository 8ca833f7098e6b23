"""Which forged requests the routes of a profile can have. Each kind is tried once, with made-up secrets."""

from __future__ import annotations

from rig.errors import ConfigError
from rig.model import Forgery, Pace, RequestClass, RunKey, Scenario, Share
from rig.profile import Profile, WebhookRoute
from rig.requests.address import Address
from rig.requests.forger import why_not
from rig.requests.sender import Credentials, made_up
from rig.requests.targeter import Targeter

_RUN = RunKey(0, "forgeries", 1_800_000_000)


def forgeries_of(profile: Profile, route: WebhookRoute) -> tuple[Forgery, ...]:
    """The kinds of forged requests that a route can have.

    A request that comes out as the right one is none, nor is one that the sender cannot make.
    """
    if profile.answers.forged == "off":
        return ()
    credentials = {name: made_up(profile, name) for name in profile.first_tenants}
    targeter = Targeter(profile, _RUN, Address("127.0.0.1"))
    plain = _request(targeter, route, credentials, None)
    if plain is None:
        return ()
    likely = [kind for kind in Forgery if not why_not(profile, route, kind, len(credentials))]
    return tuple(kind for kind in likely if _request(targeter, route, credentials, kind) not in (None, plain))


def _request(
    targeter: Targeter, route: WebhookRoute, credentials: dict[str, Credentials], kind: Forgery | None
) -> bytes | None:
    """A request that is forged so, None where the sender cannot make it. All are of the same event."""
    shares = (Share(RequestClass.FORGED, 4, forgery=kind),)
    scenario = Scenario("forged", "", 4, route.name, tuple(credentials), shares, Pace(1))
    try:
        return targeter.bind(scenario, credentials).request(0, float(_RUN.started_unix))
    except ConfigError:
        return None
