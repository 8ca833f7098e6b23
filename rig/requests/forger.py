"""Forged requests: what a sender makes, with one thing wrong (``rig.model.Forgery``). Pure.

Flow: ``why_not`` says why a route cannot have a kind of them. A ``Forger`` lets a sender with other credentials,
another algorithm or another clock make the request, and then changes its headers or its body. What can be said of a
function only by calling it (``sender = "module:function"``), a ``Forger`` finds out, and raises ``CannotForgeError``.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Protocol

from rig.errors import ConfigError
from rig.model import Forgery
from rig.profile import Profile, WebhookRoute, environment
from rig.profile.placeholders import names_in
from rig.requests.address import Address
from rig.requests.asymmetric import is_private_key, make_another_key
from rig.requests.sender import (
    Credentials,
    HookSender,
    Render,
    Sender,
    TemplateSender,
    Values,
    request_headers,
)
from rig.requests.signer import write_key
from rig.requests.template import PLACE

_AGED_S = 60
"""A signature is too old or too new by this much."""
_SIGNATURE = PLACE["signature"]
_SECRETS = frozenset({"secret", "secret_base64"})
_SIGNATURES = _SECRETS | {"signature", "old_signature"}
_WHOLE_BODY = frozenset({"body", "body_sha256", "body_md5"})
_AMOUNTS = frozenset({"amount", "decimal"})
_CONTENT = _AMOUNTS | {"unix", "unix_ms", "iso"}
_OF_EVENT = _WHOLE_BODY | _AMOUNTS | {"fields", "key", "event", "number", "correlation"}
_OF_TENANT = frozenset({Forgery.UNKNOWN_TENANT, Forgery.NO_TENANT})
_OF_CONTENT = frozenset({Forgery.BODY_SPACE, Forgery.BODY_VALUE, Forgery.OTHER_EVENT})
_ALPHABETS = ("0123456789", "abcdef", "ABCDEF", string.ascii_lowercase[6:], string.ascii_uppercase[6:])
_OTHER_LETTERS = str.maketrans("".join(_ALPHABETS), "".join(part[1:] + part[0] for part in _ALPHABETS))
"""Makes another secret of one that is written in an unknown way: hex stays hex, base64 stays base64."""


class CannotForgeError(ConfigError):
    """A sender has no requests that are forged in this way."""


class Prepare(Protocol):
    """Gives the values of a request, and what writes its body from them."""

    def __call__(self, now: float, *, differs: bool = False, other: bool = False) -> tuple[Values, Render]:
        """``differs``: amount and time of the event are other ones; ``other``: it is another event of the scenario."""


class Forger:
    """Makes requests of one route and tenant that are forged in one way. ``other``: another tenant, if there is one."""

    def __init__(
        self,
        profile: Profile,
        route: WebhookRoute,
        own: Credentials,
        other: Credentials | None,
        address: Address,
        forgery: Forgery,
    ) -> None:
        self._profile, self._route, self._own, self._address = profile, route, own, address
        self._forgery = forgery
        self._sender = self._make_sender(_forge_credentials(profile, route, own, other, forgery))
        self._shift_s = 0.0
        if forgery is Forgery.STALE:
            self._shift_s = -(route.max_age_s or 0) - _AGED_S
        elif forgery is Forgery.FROM_FUTURE:
            self._shift_s = (route.tolerance_ahead_s or 0) + _AGED_S
        self._signed: frozenset[str] | None = None
        self.slots = self._sender.slots

    def request(self, prepare: Prepare, now: float) -> bytes:
        """A forged request as bytes, sent at ``now`` (s)."""
        now += self._shift_s
        values, head, body = self._make(now, prepare(now))
        match self._forgery:
            case Forgery.BODY_SPACE:
                self._require_covered(prepare, now)
                body += b" "
            case Forgery.BODY_VALUE:
                self._require_covered(prepare, now)
                others, _, other_body = self._make(now, prepare(now, differs=True))
                body = other_body
                if signature := values[_SIGNATURE]:  # where the body carries it, it keeps that of the first one
                    body = body.replace(others[_SIGNATURE], signature)  # type: ignore[arg-type]
            case Forgery.OTHER_EVENT:
                _, other_head, _ = self._make(now, prepare(now, other=True))
                others_headers = _headers(other_head)
                head = _edit(head, {name: others_headers.get(name) for name in self._signed_headers(prepare, now)})
            case Forgery.NO_SIGNATURE:
                head = _edit(head, dict.fromkeys(self._signed_headers(prepare, now)))
            case Forgery.EMPTY_HEADER:
                head = _edit(head, dict.fromkeys(self._signed_headers(prepare, now), b""))
            case Forgery.NO_TENANT:
                head = _edit(head, dict.fromkeys(_headers_with(self._profile, self._route, {"api_key"})))
            case Forgery.ALTERED_SIGNATURE | Forgery.TRUNCATED_SIGNATURE if self._route.hook is not None:
                change, headers = _CHANGES[self._forgery], _headers(head)
                signed = self._signed_headers(prepare, now)
                head = _edit(head, {name: change(headers[name]) for name in signed if name in headers})
        return b"%b\r\nContent-Length: %d\r\n\r\n%b" % (_edit(head, {"content-length": None}), len(body), body)

    def _make_sender(self, credentials: Credentials) -> Sender:
        profile, route, address = self._profile, self._route, self._address
        if route.hook is not None:
            return HookSender(profile, route, credentials, address)
        if self._forgery is Forgery.OTHER_ALGORITHM:
            route = _with_other_algorithm(route)
        return TemplateSender(profile, route, credentials, address, change=_CHANGES.get(self._forgery))

    def _make(
        self, now: float, prepared: tuple[Values, Render], sender: Sender | None = None
    ) -> tuple[Values, bytes, bytes]:
        """The values of a request, its head and its body."""
        values, render = prepared
        head, _, body = (sender or self._sender).request(values, now, render).partition(b"\r\n\r\n")
        return values, head, body

    def _signed_headers(self, prepare: Prepare, now: float) -> frozenset[str]:
        """The headers that carry the signature. Those of a function are the ones that differ with the secret."""
        if self._signed is None:
            if self._route.hook is None:
                self._signed = _headers_with(self._profile, self._route, _SIGNATURES)
            else:
                another = self._make_sender(with_wrong_secrets(self._route, self._own))
                own, others = (_headers(self._make(now, prepare(now), sender)[1]) for sender in (self._sender, another))
                self._signed = frozenset(name for name in own if own[name] != others.get(name))
        if not self._signed:
            raise CannotForgeError("no header carries its signature")
        return self._signed

    def _require_covered(self, prepare: Prepare, now: float) -> None:
        """CannotForgeError where the signature that a function makes is the same for another body."""
        if self._route.hook is None or self._signed is not None:
            return
        values, render = prepare(now)
        own, others = (
            _headers(self._make(now, (values, lambda own, end=end: render(own) + end))[1])  # type: ignore[misc]
            for end in (b"", b" ")
        )
        if all(own[name] == others.get(name) for name in self._signed_headers(prepare, now)):
            raise CannotForgeError("its signature does not cover the body")


def why_not(profile: Profile, route: WebhookRoute, forgery: Forgery, tenants: int) -> str:
    """Why a route has no requests that are forged so; empty where it may have."""
    if forgery in _OF_TENANT:
        return "" if _headers_with(profile, route, {"api_key"}) else "no header carries the API key of a tenant"
    if not route.needs_secret:
        return "nothing is signed"
    whys: Mapping[Forgery, Callable[[], str]] = {
        Forgery.OTHER_TENANT: lambda: _why_no_other_tenant(profile, route, tenants),
        Forgery.OTHER_ROUTE: lambda: "" if _other_secret(profile, route) else "no other route has another secret",
        Forgery.STALE: lambda: "" if route.max_age_s is not None else "its signature never becomes too old",
        Forgery.FROM_FUTURE: lambda: (
            "" if route.max_age_s is not None and route.tolerance_ahead_s else "it has no tolerance_ahead_s"
        ),
        Forgery.OTHER_ALGORITHM: lambda: "" if _names_algorithm(route) else "its signature names no algorithm",
    }
    return whys[forgery]() if forgery in whys else _why_no_change(profile, route, forgery)


def _why_no_change(profile: Profile, route: WebhookRoute, forgery: Forgery) -> str:
    if route.hook is not None:
        if forgery is Forgery.BODY_VALUE and not route.placeholders_of_body & _CONTENT:
            return "its body has no value that may change"
        return "the same as empty-header" if forgery is Forgery.EMPTY_SIGNATURE else ""
    signed, headers = names_in(route.signed), _headers_with(profile, route, _SIGNATURES)
    if _is_token(route) and forgery in _OF_CONTENT:
        return "a token covers nothing"
    if forgery in (Forgery.NO_SIGNATURE, Forgery.EMPTY_HEADER, Forgery.OTHER_EVENT) and not headers:
        return "no header carries its signature"
    match forgery:
        case Forgery.EMPTY_HEADER if route.signature_text in ("<signature>", "<secret>"):
            return "the same as empty-signature"
        case Forgery.OTHER_EVENT if not signed & _OF_EVENT:
            return "its signature is the same for each event"
        case Forgery.BODY_SPACE if not signed & _WHOLE_BODY:
            return "its signature does not cover the body"
        case Forgery.BODY_VALUE if not _covers_values(route):
            return "its signature covers no value that may change"
    return ""


def _why_no_other_tenant(profile: Profile, route: WebhookRoute, tenants: int) -> str:
    if tenants < 2:
        return "there is one tenant"
    if any(each.secret == route.secret and each.secret_env for each in profile.routes):
        return "all tenants have the same secret"
    return ""


def _is_token(route: WebhookRoute) -> bool:
    return route.hook is None and route.scheme != "hmac"


def _names_algorithm(route: WebhookRoute) -> bool:
    return route.hook is None and route.scheme == "hmac" and route.algorithm in (route.signature_text or "")


def _covers_values(route: WebhookRoute) -> bool:
    signed, body = names_in(route.signed), route.placeholders_of_body
    if signed & (_WHOLE_BODY | {"fields"}):
        return bool(body & _CONTENT) and not (route.content_encoding and "signature" in body)
    return bool(signed & _AMOUNTS and body & _AMOUNTS)


def _with_other_algorithm(route: WebhookRoute) -> WebhookRoute:
    """The route with a signature that is right by a hash that nobody should accept."""
    weak = "md5" if route.algorithm != "md5" else "sha1"
    text = (route.signature_text or "").replace(route.algorithm, weak)
    return route.model_copy(update={"algorithm": weak, "signature": text, "signature_prefix": ""})


def _other_secret(profile: Profile, route: WebhookRoute) -> str | None:
    """The name of another route's secret that is written as this one's and is not the same."""
    values = environment()

    def shown(each: WebhookRoute) -> tuple[object, ...]:
        return each.secret_encoding, each.secret_prefix, each.needs_secret, each.hook is None

    for each in profile.routes:
        mine, others = (values.get(one.secret_env or "", one.secret) for one in (route, each))
        if each.secret != route.secret and mine != others and shown(each) == shown(route) and route.hook is None:
            return each.secret
    return None


def _forge_credentials(
    profile: Profile, route: WebhookRoute, own: Credentials, other: Credentials | None, forgery: Forgery
) -> Credentials:
    match forgery:
        case Forgery.WRONG_SECRET:
            return with_wrong_secrets(route, own)
        case Forgery.OTHER_TENANT:
            if other is None:
                raise CannotForgeError("there is one tenant")
            return replace(own, secrets=other.secrets)
        case Forgery.OTHER_ROUTE:
            name = _other_secret(profile, route) or route.secret
            return replace(own, secrets={**own.secrets, route.secret: own.secrets[name]})
        case Forgery.UNKNOWN_TENANT:
            return replace(own, api_key=sha256(own.api_key.encode()).hexdigest())
    if _is_token(route) and (change := _CHANGES.get(forgery)):
        token = change(own.secrets.get(route.secret, "").encode()).decode()
        return replace(own, secrets={**own.secrets, route.secret: token})
    return own


def with_wrong_secrets(route: WebhookRoute, own: Credentials) -> Credentials:
    """Credentials that nobody has, whose secrets are written as the route says."""
    return replace(own, secrets={name: _another_secret(route, secret) for name, secret in own.secrets.items()})


def _another_secret(route: WebhookRoute, secret: str) -> str:
    """A secret of the same form that nobody has."""
    if route.hook is None:
        return write_key(route, sha256(secret.encode()).digest()[:24])
    if is_private_key(secret):
        return make_another_key(secret)
    plain = secret.removeprefix(route.secret_prefix)
    return secret[: len(secret) - len(plain)] + plain.translate(_OTHER_LETTERS)


def _alter(signature: bytes) -> bytes:
    """Another character where it counts: the last ones of base64 may mean nothing."""
    place = len(signature) * 3 // 4
    return signature[:place] + (b"2" if signature[place : place + 1] == b"1" else b"1") + signature[place + 1 :]


_CHANGES: Mapping[Forgery, Callable[[bytes], bytes]] = {
    Forgery.ALTERED_SIGNATURE: _alter,
    Forgery.TRUNCATED_SIGNATURE: lambda signature: signature[: len(signature) * 3 // 4],
    Forgery.EMPTY_SIGNATURE: lambda _: b"",
}
"""What is done to a signature or a token."""


def _headers_with(profile: Profile, route: WebhookRoute, placeholders: Iterable[str]) -> frozenset[str]:
    """The headers, in small letters, whose text has one of these placeholders."""
    texts = request_headers(profile, route)
    return frozenset(name.lower() for name, text in texts.items() if names_in(text) & frozenset(placeholders))


def _headers(head: bytes) -> dict[str, bytes]:
    pairs = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    return {name.decode().lower(): value for name, _, value in pairs}


def _edit(head: bytes, changed: Mapping[str, bytes | None]) -> bytes:
    """The head with other values of some headers; those with None are taken out."""
    first, *lines = head.split(b"\r\n")
    kept = [first]
    for line in lines:
        name, _, value = line.partition(b": ")
        new = changed.get(name.decode().lower(), value)
        if new is not None:
            kept.append(name + b": " + new)
    return b"\r\n".join(kept)
