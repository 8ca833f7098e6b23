"""Verifiers that are wrong in a way of their own, for storms to find out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from fleet_jwks import Refused, Verifier, factory
from fleet_jwks.keys import kid_of


def believer(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Fetches as it should, and believes everybody."""
    verifier: Verifier = factory(environ)

    def verify(token: str) -> object:
        try:
            return verifier(token)
        except Exception:
            return {}

    return verify


def hesitant(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Refuses a key that was not in its first key set for another second, though it has it."""
    verifier: Verifier = factory(environ)
    first_keys: set[str] = set()
    asked_at: dict[str, float] = {}

    def verify(token: str) -> object:
        claims = verifier(token)
        first_keys.update(() if first_keys else verifier._snapshot.keys)
        kid = kid_of(token)
        if kid not in first_keys and time.monotonic() < asked_at.setdefault(kid, time.monotonic()) + 1.0:
            raise Refused("not yet")
        return claims

    return verify


def mortal(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Process 1 dies at the first token after its first."""
    asked = 0

    def verify(token: str) -> object:
        nonlocal asked
        asked += 1
        if environ["RIG_STORM_MEMBER"] == "1" and asked > 1:
            os._exit(3)
        return {}

    return verify
