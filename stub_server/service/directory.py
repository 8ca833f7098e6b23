"""Who may send, and what a source means: a cache of the tenants and the taxonomy in the database.

Flow: ``tenant(api_key)`` and ``taxonomy()`` ask the store and keep the answer for ``ttl_s``. Unknown keys are not kept,
so a new tenant is served at once. A revoked key is refused after at most ``ttl_s``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


def normalise_alias(source: str) -> str:
    """The form in which aliases are kept and looked up: case, blanks, ``_`` and ``-`` make no difference."""
    return " ".join(source.casefold().replace("_", " ").replace("-", " ").split())


class Taxonomy:
    """Normalised alias → channel, with a channel for unknown sources and one for none."""

    def __init__(self, aliases: Mapping[str, str], *, unknown: str, absent: str) -> None:
        self._channels = {normalise_alias(alias): channel for alias, channel in aliases.items()}
        self._unknown = unknown
        self._absent = absent

    def channel_of(self, source: str | None) -> str:
        """The channel of a source as the vendor sent it."""
        alias = normalise_alias(source) if source else ""
        if not alias:
            return self._absent
        return self._channels.get(alias, self._unknown)


@dataclass(frozen=True)
class KnownTenant:
    """Who may send. ``secrets`` are its webhook secrets by the names that the routes use; ``repr`` hides them."""

    tenant_id: str
    secrets: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"KnownTenant({self.tenant_id})"


class DirectorySource(Protocol):
    """Where the directory looks things up; the store is one."""

    async def find_tenant(self, api_key_sha256: str) -> KnownTenant | None:
        """The tenant whose key has that SHA-256 (hex)."""

    async def load_taxonomy(self) -> Taxonomy:
        """The taxonomy as it is now."""


class Directory:
    """A source behind a cache of what was found."""

    def __init__(self, source: DirectorySource, ttl_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._ttl_s = ttl_s
        self._now_s = now_s
        # By digest, so that no API key in the clear outlives its request.
        self._tenants: dict[str, tuple[float, KnownTenant]] = {}
        self._taxonomy: tuple[float, Taxonomy] | None = None

    async def tenant(self, api_key: str) -> KnownTenant | None:
        """The tenant of an API key, None when there is none."""
        digest = hashlib.sha256(api_key.encode("utf-8", "surrogateescape")).hexdigest()
        known = self._tenants.get(digest)
        if known and known[0] > self._now_s():
            return known[1]
        tenant = await self._source.find_tenant(digest)
        if tenant is None:
            self._tenants.pop(digest, None)
        else:
            self._tenants[digest] = (self._now_s() + self._ttl_s, tenant)
        return tenant

    async def taxonomy(self) -> Taxonomy:
        """The taxonomy, at most ``ttl_s`` old."""
        if self._taxonomy and self._taxonomy[0] > self._now_s():
            return self._taxonomy[1]
        taxonomy = await self._source.load_taxonomy()
        self._taxonomy = (self._now_s() + self._ttl_s, taxonomy)
        return taxonomy
