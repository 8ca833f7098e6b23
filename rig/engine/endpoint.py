"""Where requests go: a base URL taken apart once, and refused unless it may be loaded."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rig.errors import ConfigError

_PLAIN = re.compile(r"[\x21-\x7e]*")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One HTTP/1.1 server. ``base_path`` has no trailing slash; ``ca_file`` is trusted besides the system's."""

    host: str
    port: int
    tls: bool = False
    base_path: str = ""
    ca_file: Path | None = None

    @classmethod
    def parse(cls, base_url: str, ca_file: Path | None = None) -> Endpoint:
        """Take a base URL apart; ConfigError when it is none."""
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"base URL {base_url!r} is wrong: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"base URL {base_url!r} is wrong; it must look like http://127.0.0.1:8080")
        if port == 0 or parts.query or parts.fragment or parts.username is not None or not _PLAIN.fullmatch(parts.path):
            raise ConfigError(
                f"the base URL of {parts.hostname!r} is wrong: it has a scheme, a host, perhaps a port (not 0) and a "
                "path, and nothing else"
            )
        tls = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if tls else 80), tls, parts.path.rstrip("/"), ca_file)

    @property
    def host_header(self) -> str:
        """Value of the Host header (an IPv6 address in brackets)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL again."""
        return f"{'https' if self.tls else 'http'}://{self.host_header}{self.base_path}"

    def tls_context(self) -> ssl.SSLContext | None:
        """A verifying TLS context, None for plain http; ConfigError when ``ca_file`` cannot be read."""
        if not self.tls:
            return None
        context = ssl.create_default_context()
        if self.ca_file is not None:
            try:
                context.load_verify_locations(self.ca_file)
            except OSError as error:
                raise ConfigError(f"target.ca_file {self.ca_file} cannot be read: {error}") from None
        return context

    def require_allowed(self, allowed_host: str | None) -> None:
        """ConfigError unless the host is loopback or is ``allowed_host``: load goes nowhere by accident."""
        if self.host == allowed_host:
            return
        try:
            found = {info[4][0] for info in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)}
        except OSError as error:
            raise ConfigError(f"target host {self.host!r} cannot be resolved: {error}") from None
        if not all(ipaddress.ip_address(str(address).split("%")[0]).is_loopback for address in found):
            raise ConfigError(
                f"target host {self.host!r} is not loopback; to load it, name it in the profile "
                f"(target.allow_host) and repeat it on the command line (--allow-host {self.host})"
            )
