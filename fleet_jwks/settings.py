"""Every variable of the verifier, its bounds, and which protections are off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class Protection(StrEnum):
    """What can be switched off; the package's docstring says what each is for."""

    SINGLE_FLIGHT = "single-flight"
    COLD_START = "cold-start"
    COOL_DOWN = "cool-down"
    COOL_DOWN_FROM_END = "cool-down-from-end"
    BACKOFF = "backoff"
    JITTER = "jitter"
    FOLLOWER_BOUND = "follower-bound"
    LOCK_SCOPE = "lock-scope"
    ONE_CONNECTION = "one-connection"

    @classmethod
    def _missing_(cls, value: object) -> Protection | None:
        """One of an old name, which is accepted until the next release."""
        return {"floor": cls.COOL_DOWN, "floor-from-end": cls.COOL_DOWN_FROM_END}.get(str(value))


_OLD_NAMES = {"cool_down_s": "JWKS_FLOOR_S", "wait_timeout_s": "JWKS_PATIENCE_S"}
"""Variables of renamed settings. They are read until the next release where the new one is not set."""

_ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "Ed448"),
)
"""Those with a key pair. A published key is no secret, so there are none with a shared one."""


@dataclass(frozen=True, slots=True)
class JwksSettings:
    """One field for each variable: ``cool_down_s`` is ``JWKS_COOL_DOWN_S``, and so on; ``dsn`` is ``DATABASE_URL``.

    Give ``url``, or ``fetch``: ``module:name`` of a callable that takes nothing and returns the key set as a mapping
    (some read a secret store instead). ``source`` names the row. Without it each ``url`` or ``fetch`` has its own:
    two issuers in one database never trust each other's keys.
    """

    dsn: str = field(repr=False)
    url: str = ""
    fetch: str = ""
    source: str = ""
    issuer: str = ""
    audience: str = ""
    cool_down_s: float = 30.0
    ttl_s: float = 300.0
    grace_s: float = 3600.0
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    jitter: float = 0.2
    """The largest random share by which backoff is longer, and by which of the TTL a refresh is earlier."""
    wait_timeout_s: float = 1.0
    """How long a process waits for the fetch of another."""
    fetch_timeout_s: float = 3.0
    """How long a whole fetch from ``url`` may take; the callable of ``fetch`` must limit its own time."""
    leader_timeout_s: float = 5.0
    """After how long another process takes over from one that stands still in its fetch."""
    keep_s: float = 30 * 86_400.0
    """How long a line about a fetch is kept in ``jwks_fetches``."""
    leeway_s: float = 0.0
    """By how much the clocks of issuer and service may differ, in ``exp``, ``nbf`` and ``iat``."""
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    """Algorithms that a token may have (RFC 7518, 3.1; RFC 8037), in ``JWKS_ALGORITHMS`` with commas."""
    without: frozenset[Protection] = frozenset()

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.fetch):
            raise ValueError("give exactly one of JWKS_URL and JWKS_FETCH")
        if not self.source:
            object.__setattr__(self, "source", self.url or self.fetch)
        if self.leader_timeout_s <= self.fetch_timeout_s:
            raise ValueError("JWKS_LEADER_TIMEOUT_S must be above JWKS_FETCH_TIMEOUT_S: a slow fetch is no dead leader")
        for name in self.algorithms or ("",):
            if name not in _ALGORITHMS:
                raise ValueError(f"JWKS_ALGORITHMS: {name!r} is none of {', '.join(_ALGORITHMS)}")
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, float) and value < 0:
                raise ValueError(f"JWKS_{one.name.upper()} must not be negative")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> JwksSettings:
        """Read the variables; ValueError names the one that is wrong."""
        values: dict[str, Any] = {"dsn": environ.get("DATABASE_URL", "")}
        for one in fields(cls):
            name = f"JWKS_{one.name.upper()}"
            if not environ.get(name) and one.name in _OLD_NAMES:
                name = _OLD_NAMES[one.name]
            if one.name in ("dsn", "without") or not (text := environ.get(name)):
                continue
            if isinstance(one.default, tuple):
                values[one.name] = tuple(_split(text))
                continue
            try:
                values[one.name] = float(text) if isinstance(one.default, float) else text
            except ValueError:
                raise ValueError(f"{name} is {text!r}: give a number of seconds (or a share)") from None
        try:
            values["without"] = frozenset(Protection(name) for name in _split(environ.get("JWKS_WITHOUT", "")))
        except ValueError as error:
            raise ValueError(f"JWKS_WITHOUT: {error}; known are {', '.join(Protection)}") from None
        return cls(**values)

    def has(self, protection: Protection) -> bool:
        """True unless it was switched off."""
        return protection not in self.without


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
