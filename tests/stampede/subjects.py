"""Verifiers that are wrong in a way of their own, for storms to find out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from stub_server.verifier import Verifier, factory


def believer(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Fetches as it should, and believes everybody."""
    verifier: Verifier = factory(environ)

    def verify(token: str) -> object:
        try:
            return verifier(token)
        except Exception:
            return {}

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
