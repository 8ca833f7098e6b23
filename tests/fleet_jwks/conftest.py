"""A fleet of verifiers over real PostgreSQL, their upstream a function of the test. Processes of a fleet are verifiers
of their own here, each with its own connection: what they share is the database alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from fleet_jwks import JwksSettings, Protection, Verifier
from fleet_jwks.store import create_schema
from rig.storms.unknown_kid.keyring import AUDIENCE, ISSUER, Keyring
from rig.target.postgres import Database

KEYS = Keyring.make()
KNOWN = KEYS.known_tokens()
DEADLINE_S = 10.0


class Upstream:
    """An origin in this process: what it does next is the test's to say."""

    def __init__(self) -> None:
        self.fetches = 0
        self.answer: Callable[[], Mapping[str, Any]] = KEYS.document

    def __call__(self) -> Mapping[str, Any]:
        self.fetches += 1
        return self.answer()

    def fails(self) -> None:
        def fail() -> Mapping[str, Any]:
            raise OSError("out of order")

        self.answer = fail


UPSTREAM = Upstream()


def fetch() -> Mapping[str, Any]:
    """What JWKS_FETCH names."""
    return UPSTREAM()


@pytest.fixture(autouse=True)
def upstream() -> Upstream:
    UPSTREAM.__init__()  # type: ignore[misc]  # as new
    return UPSTREAM


Make = Callable[..., Verifier]
FETCH = f"{__name__}:fetch"


@pytest.fixture
def make(database: Database) -> Iterator[Make]:
    """Verifiers of one fleet; a short cool-down, a long TTL."""
    create_schema(database.admin_dsn, database.runtime_role)
    made: list[Verifier] = []

    def one(*without: Protection, **changes: Any) -> Verifier:
        options: dict[str, Any] = {"cool_down_s": 60.0, "issuer": ISSUER, "audience": AUDIENCE} | changes
        settings = JwksSettings(dsn=database.runtime_dsn, fetch=FETCH, without=frozenset(without), **options)
        made.append(Verifier(settings))
        return made[-1]

    yield one
    for verifier in made:
        verifier.close()
