"""Where a sender believes that it posts to. The members of a storm import this: it imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Where senders believe that they post to: for the Host header and for ``<url>``."""

    host: str = ""
    base_path: str = ""
    scheme: str = "http"
    public_url: str | None = None

    @property
    def url(self) -> str:
        """The address without the path of a route."""
        return self.public_url or f"{self.scheme}://{self.host}{self.base_path}"
