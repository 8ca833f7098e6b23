"""Whole requests of one sender to one tenant: head, signature, body, as bytes. Pure.

``TemplateSender`` fills what the keys of a route say; ``HookSender`` calls the function that the route names with an
``Event``, and sends the ``Request`` that it returns.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from gzip import compress
from hashlib import md5, sha256
from pathlib import Path
from urllib.parse import parse_qsl, quote

from rig.errors import ConfigError
from rig.profile import Profile, WebhookRoute, environment
from rig.profile.placeholders import OF_SENDING, TENANT
from rig.requests.address import Address
from rig.requests.signer import Sign, signer, write_key
from rig.requests.template import PLACE, Template

Values = list[object]
"""The values of one request, in the order of ``rig.requests.template.SLOTS``."""
Render = Callable[[Values], bytes]
_SIGNATURE, _OLD_SIGNATURE = PLACE["signature"], PLACE["old_signature"]
_PATH, _URL, _BODY, _LENGTH, _FIELDS = (PLACE[name] for name in ("path", "url", "body", "length", "fields"))
_DIGESTS = {"body_sha256": (PLACE["body_sha256"], sha256), "body_md5": (PLACE["body_md5"], md5)}
_OF_BODY = frozenset({"body", "body_sha256", "body_md5", "fields"})


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The secrets of a tenant. They stay in memory and have no repr, so that they cannot reach a log."""

    api_key: str
    secrets: Mapping[str, str]
    """Webhook secrets by the names that the routes use; under ``NAME.old`` the one before a rotation."""
    tenant: str = ""
    """The id in the tenant's rows."""


def made_up(profile: Profile, name: str) -> Credentials:
    """Credentials of nobody, for the rig's own stubs, with secrets that the routes can sign with.

    A private key cannot be made up: a secret that is in the environment is taken from there.
    """
    own: dict[str, str] = {}
    for route in profile.routes:
        given = environment().get(route.secret_env or "", "")
        own[route.secret] = given or write_key(route, sha256(f"{name}/{route.secret}".encode()).digest()[:24])
        own[f"{route.secret}.old"] = write_key(route, b"-" * 24)
    return Credentials(name, own, name)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: what a sender of your own returns. The rig adds Host and Content-Length."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def encode(self, host: str, base_path: str) -> bytes:
        """The request as it goes on the wire."""
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return (
            f"{self.method} {base_path}{self.path} HTTP/1.1\r\nHost: {host}\r\n{head}"
            f"Content-Length: {len(self.body)}\r\n\r\n"
        ).encode() + self.body


@dataclass(frozen=True, slots=True)
class Event:
    """What a sender of your own gets: the event, and the request that the route's other keys make of it, unsigned.

    ``now`` is the time of sending (s since 1970, with fractions). The function must be pure: it takes no other clock,
    no random number and no other input, because the rig derives the same request again.
    """

    key: str
    correlation: str
    tenant: str
    api_key: str
    secret: str = field(repr=False)
    now: float
    url: str
    request: Request

    @property
    def body(self) -> bytes:
        return self.request.body

    def signed(self, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Request:
        """The request with further headers, and with another body where one is given."""
        request = self.request
        return replace(
            request,
            headers={**request.headers, **(headers or {})},
            body=request.body if body is None else body,
        )


Hook = Callable[[Event], Request]


class Sender(ABC):
    """Makes the requests of one route for one tenant."""

    slots: frozenset[str]
    """The slots whose values it needs, beside those of the body."""

    @abstractmethod
    def request(self, values: Values, now: float, render_body: Render) -> bytes:
        """A request as bytes, sent at ``now`` (s). ``values`` has those of the event and of the time of sending."""


def sender_of(profile: Profile, route: WebhookRoute, credentials: Credentials, address: Address) -> Sender:
    """The sender of a route and a tenant; ConfigError where its function cannot be imported."""
    kind = TemplateSender if route.hook is None else HookSender
    return kind(profile, route, credentials, address)


def _path_template(route: WebhookRoute, known: Mapping[str, str]) -> Template:
    return Template.of(route.path, {name: quote(text, safe="") for name, text in known.items()}, OF_SENDING)


class TemplateSender(Sender):
    """Fills the templates of a route. All that is constant for a tenant is filled in once, here.

    ``change`` is done to each signature, to forge it.
    """

    def __init__(
        self,
        profile: Profile,
        route: WebhookRoute,
        credentials: Credentials,
        address: Address,
        change: Callable[[bytes], bytes] | None = None,
    ) -> None:
        secret = credentials.secrets.get(route.secret, "")
        known = constants_of(route, credentials)
        self._gzip = route.content_encoding == "gzip"
        known |= {"method": route.method, "host": _fill_constants(route.host or address.host, known)}
        self._path = _path_template(route, known)
        self._base_path, self._base_url = address.base_path.encode(), address.url.encode()
        headers = request_headers(profile, route)
        head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        length, body = "Content-Length: <length>\r\n\r\n", "<body>"
        first = f"{route.method} <path> HTTP/1.1\r\nHost: <host>\r\n"
        self._head = Template.of(first + head + length + body, known, OF_SENDING)
        self._signed = Template.of(route.signed, known, OF_SENDING)
        self._sign = _changing(signer(route, secret), change) if route.scheme == "hmac" else None
        old = credentials.secrets.get(f"{route.secret}.old", "")
        has_old = "old_signature" in route.placeholders and old
        self._sign_old = _changing(signer(route, old), change) if has_old else None
        self._signs_before_body = self._sign is not None and "signature" in route.placeholders_of_body
        self._signs_before_path = self._sign is not None and "signature" in self._path.slots
        self.slots = self._path.slots | self._head.slots | (self._signed.slots if self._sign else frozenset())
        self._digests = [pair for name, pair in _DIGESTS.items() if name in self.slots]
        self._needs_fields = "fields" in self.slots

    def request(self, values: Values, now: float, render_body: Render) -> bytes:
        if not self._signs_before_path:
            self._fill_path(values)
        if self._signs_before_body:
            self._fill_signature(values)
        body = render_body(values)
        if self._gzip:
            body = compress(body, 6, mtime=0)
        values[_BODY] = body
        for place, digest in self._digests:
            values[place] = digest(body, usedforsecurity=False).hexdigest().encode()
        if self._needs_fields:
            values[_FIELDS] = _sorted_fields(body)
        if self._sign is not None and not self._signs_before_body:
            self._fill_signature(values)
        if self._signs_before_path:
            self._fill_path(values)
        values[_LENGTH] = len(body)
        return self._head.render(values)

    def _fill_path(self, values: Values) -> None:
        path = self._path.render(values)
        values[_PATH], values[_URL] = self._base_path + path, self._base_url + path

    def _fill_signature(self, values: Values) -> None:
        text = self._signed.render(values)
        values[_SIGNATURE] = self._sign(text)  # type: ignore[misc]
        if self._sign_old is not None:
            values[_OLD_SIGNATURE] = self._sign_old(text)


class HookSender(Sender):
    """Lets a function of the profile's own make each request."""

    def __init__(self, profile: Profile, route: WebhookRoute, credentials: Credentials, address: Address) -> None:
        self._hook = load_hook(route.hook or "", profile.folder)
        self._route, self._credentials, self._address = route, credentials, address
        self._secret = credentials.secrets.get(route.secret, "")
        known = constants_of(route, credentials)
        self._host = _fill_constants(route.host or address.host, known)
        known |= {"method": route.method, "host": self._host}
        self._path = _path_template(route, known)
        self._headers = {
            name: Template.of(text, known, OF_SENDING) for name, text in request_headers(profile, route).items()
        }
        self.slots = frozenset().union(self._path.slots, *(text.slots for text in self._headers.values()))

    def request(self, values: Values, now: float, render_body: Render) -> bytes:
        """See ``Sender``; ConfigError where the function fails."""
        path = self._path.render(values)
        values[_PATH], url = path, self._address.url + path.decode()
        values[_URL] = url.encode()
        body = render_body(values)
        plain = Request(
            self._route.method,
            path.decode(),
            {name: text.render(values).decode() for name, text in self._headers.items()},
            compress(body, 6, mtime=0) if self._route.content_encoding else body,
        )
        event = Event(
            bytes(values[PLACE["key"]]).decode(),  # type: ignore[call-overload]
            bytes(values[PLACE["correlation"]]).decode(),  # type: ignore[call-overload]
            self._credentials.tenant,
            self._credentials.api_key,
            self._secret,
            now,
            url,
            plain,
        )
        try:
            request = self._hook(event)
        except ConfigError as error:
            raise ConfigError(f"sender {self._route.hook!r} of route {self._route.name!r}: {error}") from None
        except Exception as error:  # it is somebody else's code
            raise ConfigError(f"sender {self._route.hook!r} of route {self._route.name!r} failed: {error!r}") from error
        if not isinstance(request, Request):
            raise ConfigError(
                f"sender {self._route.hook!r} of route {self._route.name!r} returned {type(request).__name__}; it must "
                "return a rig.requests.sender.Request, like event.signed(headers={…})"
            )
        return request.encode(self._host, self._address.base_path)


def request_headers(profile: Profile, route: WebhookRoute) -> dict[str, str]:
    """The headers of a route's requests with their placeholders, in the order in which they are sent."""
    own, headers = profile.headers, {"Content-Type": route.content_type}
    if route.content_encoding:
        headers["Content-Encoding"] = route.content_encoding
    if own.tenant_key is not None:
        headers[own.tenant_key] = f"{own.tenant_key_prefix}<api_key>"
    if own.idempotency_key is not None:
        headers[own.idempotency_key] = "<key>"
    if own.correlation_id is not None:
        headers[own.correlation_id] = "<correlation>"
    headers |= route.headers
    if route.timestamp_header is not None:
        headers[route.timestamp_header] = "<now>"
    if route.signature_header is not None and route.signature_text is not None:
        headers[route.signature_header] = route.signature_text
    return headers


@cache
def load_hook(name: str, folder: Path | None) -> Hook:
    """The function ``module:function``; ``folder`` is searched first. ConfigError where there is none."""
    module, _, function = name.partition(":")
    searched = [str(folder)] if folder is not None else []
    sys.path[:0] = searched
    try:
        found = getattr(importlib.import_module(module), function, None)
    except Exception as error:  # whatever its module does when it is imported
        raise ConfigError(f"sender {name!r} cannot be imported: {error!r}") from None
    finally:
        for each in searched:
            sys.path.remove(each)
    if not callable(found):
        raise ConfigError(f"sender {name!r}: module {module} has no function {function!r}")
    hook: Hook = found
    return hook


def constants_of(route: WebhookRoute, credentials: Credentials) -> dict[str, str]:
    """What the placeholders of a tenant mean on a route; ConfigError for one that no request can carry."""
    secret = credentials.secrets.get(route.secret, "")
    known = {
        "tenant": credentials.tenant,
        "api_key": credentials.api_key,
        "secret": secret,
        "secret_base64": b64encode(secret.encode()).decode(),
    }
    for name, text in known.items():
        if name in route.placeholders and not text.isprintable():
            raise ConfigError(f"route {route.name!r}: <{name}> has a line end or another control character")
    return known


def _changing(sign: Sign, change: Callable[[bytes], bytes] | None) -> Sign:
    return sign if change is None else lambda text: change(sign(text))


def _fill_constants(text: str, known: Mapping[str, str]) -> str:
    for name in TENANT:
        text = text.replace(f"<{name}>", known.get(name, ""))
    return text


def _sorted_fields(body: bytes) -> bytes:
    """The fields of a form, sorted by name, each name followed by its value (Twilio's formula)."""
    return "".join(name + value for name, value in sorted(parse_qsl(body.decode(), keep_blank_values=True))).encode()
