"""Verifiers that are wrong in a way of their own, for storms to find out."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event

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


def ending(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Ends its process at the first token that it cannot verify, as some libraries in C or Rust do."""
    verifier: Verifier = factory(environ)

    def verify(token: str) -> object:
        try:
            return verifier(token)
        except Exception:
            raise SystemExit("a panic") from None

    return verify


def hanging(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Never comes back from a token that has no parts."""
    verifier: Verifier = factory(environ)

    def verify(token: str) -> object:
        if "." not in token:
            Event().wait()
        return verifier(token)

    return verify


def dying_at_once(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Its process dies of its first token, a valid one."""

    def verify(token: str) -> object:
        signal.raise_signal(signal.SIGSEGV)
        return {}

    return verify


def unborn(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Cannot be made."""
    raise ImportError("no such library")


def asynchronous(environ: Mapping[str, str]) -> Callable[[str], object]:
    """The reference behind a coroutine, which raises only when it is awaited."""
    verifier: Verifier = factory(environ)

    async def verify(token: str) -> object:
        return await asyncio.to_thread(verifier, token)

    return verify


def asynchronous_believer(environ: Mapping[str, str]) -> Callable[[str], object]:
    """The same, and it believes tokens whose key nobody knows."""
    believing = believer(environ)

    async def verify(token: str) -> object:
        return believing(token)

    return verify


def mistaken(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Looks for an attribute of what it did not find."""
    verifier: Verifier = factory(environ)

    def verify(token: str) -> object:
        try:
            return verifier(token)
        except Exception:
            return None.key  # type: ignore[attr-defined]

    return verify


def hoarding(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Keeps key ids on a disk, and never fetches for others: right only as long as the keys stay the same."""
    verifier: Verifier = factory(environ)
    kept = Path(environ["HOARD"])

    def verify(token: str) -> object:
        if not kept.exists():
            verifier(token)
            kept.write_text(json.dumps(sorted(verifier._snapshot.keys)))
        if kid_of(token) not in json.loads(kept.read_text()):
            raise Refused("not in the hoard")
        return verifier(token)

    return verify


def only_rs256(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Of one algorithm, as most services are: other tokens are refused before a key is looked for."""
    verifier: Verifier = factory(environ)

    def verify(token: str) -> object:
        try:
            header = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
        except ValueError:
            raise Refused("no token") from None
        if not isinstance(header, dict) or header.get("alg") != "RS256":
            raise Refused("another algorithm")
        return verifier(token)

    return verify


def discovering(environ: Mapping[str, str]) -> Callable[[str], object]:
    """Knows its issuer only, and asks it where the keys are, as clients of OpenID Connect do."""
    address = f"{environ['JWKS_ISSUER']}/.well-known/openid-configuration"
    with urllib.request.urlopen(address, timeout=5) as response:
        document = json.loads(response.read())
    assert document["issuer"] == environ["JWKS_ISSUER"]
    return factory({**environ, "JWKS_URL": document["jwks_uri"]})
