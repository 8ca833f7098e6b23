"""Small scenarios, credentials and requests for the tests of the engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from rig.model import Pace, RequestClass, RunKey, Scenario, Share
from rig.profile import Profile
from rig.requests.sender import Credentials

RUN = RunKey(seed=7, run_id="run-1", started_unix=1_800_000_000)


def scenario(
    count: int = 3,
    *,
    shares: tuple[Share, ...] | None = None,
    connections: int = 1,
    rate_per_s: float | None = None,
    tenants: tuple[str, ...] = ("A",),
    route: str = "shopify",
    **changes: Any,
) -> Scenario:
    """A scenario of ``count`` valid events, or of the given shares."""
    return Scenario(
        id=changes.pop("id", "T"),
        title="Test",
        step=count,
        route=route,
        tenants=tenants,
        shares=shares or (Share(RequestClass.VALID, count),),
        pace=Pace(connections, rate_per_s),
        **changes,
    )


def credentials(profile: Profile, tenants: tuple[str, ...] = ("A",)) -> dict[str, Credentials]:
    """An API key and a secret for each route, different for each tenant."""
    return {
        name: Credentials(f"key-of-{name}", {route.secret: f"{route.secret}-of-{name}" for route in profile.routes})
        for name in tenants
    }


class Message(NamedTuple):
    """A request taken apart by nothing but splitting."""

    line: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


def taken_apart(request: bytes) -> Message:
    """Split a request's bytes; a header that comes twice is an error."""
    head, separator, body = request.partition(b"\r\n\r\n")
    assert separator
    line, *fields = head.decode("ascii").split("\r\n")
    headers: dict[str, str] = {}
    for field in fields:
        name, colon, value = field.partition(": ")
        assert colon
        assert name not in headers
        headers[name] = value
    return Message(line, headers, body)
