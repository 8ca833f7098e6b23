"""A sender of one's own, as a profile may name it."""

from __future__ import annotations

import hashlib
import hmac

from rig.requests.sender import Event, Request


def send(event: Event) -> Request:
    """The hex HMAC of the body in a header."""
    return event.signed({"X-Own-Mac": hmac.new(event.secret.encode(), event.body, hashlib.sha256).hexdigest()})
