"""Where requests go: a base URL taken apart once, refused unless it may be loaded, and pinned once it was checked.

A name can mean another machine a moment later. So ``check_and_pin`` gives an endpoint that carries the addresses which
were checked. Connections go to these; the name is not resolved again.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rig.errors import ConfigError
from rig.machine.files import open_file
from rig.machine.urls import split_base_url
from rig.requests.address import Address

if TYPE_CHECKING:  # the members of a storm import this module, and a profile takes a fifth of a second
    from rig.profile import Target


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files for https: certificates to trust besides the system's, and the certificate of the rig with its key."""

    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    @classmethod
    def of(cls, target: Target) -> TlsFiles:
        """The files that a profile names."""
        return cls(target.ca_file, target.client_cert, target.client_key)

    def context(self) -> ssl.SSLContext:
        """A verifying context; ConfigError names the file that cannot be read."""
        context = ssl.create_default_context()
        if self.ca_file is not None:
            try:
                open_file(self.ca_file).close()
                context.load_verify_locations(self.ca_file)
            except OSError as error:
                raise ConfigError(f"target.ca_file {self.ca_file} cannot be read: {error}") from None
        if self.client_cert is not None:
            try:
                for file in (self.client_cert, self.client_key or self.client_cert):
                    open_file(file).close()
                context.load_cert_chain(self.client_cert, self.client_key, password="")  # else OpenSSL asks for one
            except (OSError, ValueError) as error:
                named = " and ".join(str(file) for file in (self.client_cert, self.client_key) if file is not None)
                raise ConfigError(
                    f"target.client_cert {named} cannot be used: {error}; give a certificate and its key as PEM, the "
                    "key not encrypted"
                ) from None
        return context


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One HTTP/1.1 server. ``base_path`` has no trailing slash.

    ``addresses`` are what ``host`` resolved to when it was checked, in the resolver's order; empty before that.
    ``relay`` is where the rig's relay to it listens: connections go there, and requests say nothing of it.
    """

    host: str
    port: int
    tls: bool = False
    base_path: str = ""
    tls_files: TlsFiles = TlsFiles()
    addresses: tuple[str, ...] = field(default=(), compare=False)
    relay: tuple[str, int] | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, base_url: str, tls_files: TlsFiles = TlsFiles()) -> Endpoint:  # it is frozen
        """Take a base URL apart; ConfigError when it is none."""
        try:
            parts = split_base_url(base_url)
        except ValueError as error:
            raise ConfigError(f"the base URL is wrong: {error}") from None
        tls = parts.scheme == "https"
        return cls(parts.hostname or "", parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"), tls_files)

    @property
    def host_header(self) -> str:
        """Value of the Host header (an IPv6 address in brackets)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL again."""
        return f"{'https' if self.tls else 'http'}://{self.host_header}{self.base_path}"

    @property
    def address(self) -> Address:
        """Where senders post to, for their requests."""
        return Address(self.host_header, self.base_path, "https" if self.tls else "http")

    def tls_context(self) -> ssl.SSLContext | None:
        """A verifying TLS context, None for plain http; ConfigError when a file cannot be read."""
        return self.tls_files.context() if self.tls else None

    @property
    def connect_to(self) -> tuple[tuple[str, int], ...]:
        """What to connect to, in this order: the relay, the addresses that were checked, or the host."""
        if self.relay is not None:
            return (self.relay,)
        return tuple((host, self.port) for host in self.addresses or (self.host,))

    def connect(self, timeout_s: float, tls: ssl.SSLContext | None = None) -> socket.socket:
        """A blocking connection with that timeout, over TLS where a context is given.

        OSError of the last address when none can be reached. The certificate must be the host's at every address.
        """
        plain = self._open_socket(timeout_s)
        return plain if tls is None else tls.wrap_socket(plain, server_hostname=self.host)  # it closes it on failure

    def _open_socket(self, timeout_s: float) -> socket.socket:
        for place in self.connect_to[:-1]:
            with contextlib.suppress(OSError):
                return socket.create_connection(place, timeout_s)
        return socket.create_connection(self.connect_to[-1], timeout_s)

    @property
    def is_loopback(self) -> bool:
        """Whether it is on the machine that asks; False before it was checked."""
        return bool(self.addresses) and all(map(_is_loopback, self.addresses))

    def check_and_pin(self, allowed_host: str | None) -> Endpoint:
        """The same endpoint with its addresses. ConfigError unless all are loopback or the host is ``allowed_host``.

        So no load goes to a machine by accident, even if a name means several machines or changes its meaning.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"target host {self.host!r} cannot be resolved: {error}") from None
        addresses = tuple(dict.fromkeys(str(info[4][0]) for info in found))
        if self.host != (allowed_host or "").lower() and not all(map(_is_loopback, addresses)):
            raise ConfigError(
                f"target host {self.host!r} is not loopback; to load it, name it in the profile "
                f"(target.allow_host) and repeat it on the command line (--allow-host {self.host})"
            )
        # On a machine without IPv6 a name may still resolve to ::1. To fail there would look like a fault of the rig.
        return replace(self, addresses=tuple(filter(_has_route, addresses)) or addresses)


def _has_route(address: str) -> bool:
    """Whether this machine has a route to an address; nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
    except OSError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
