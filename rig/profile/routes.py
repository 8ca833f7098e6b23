"""The section of a profile about one sender: what it posts, and how it signs it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from rig.model import RequestClass, Scheme
from rig.profile.answers import RouteAnswer
from rig.profile.content import ContentField
from rig.profile.fields import (
    Header,
    HeaderPrefix,
    HeaderText,
    HeaderValue,
    Identifier,
    Name,
    PathText,
    Seconds,
    Section,
    SignedText,
    Variable,
)
from rig.profile.placeholders import names_in

_PRESETS = Path(__file__).with_name("senders.toml")
_TOLERANCE_S = 300.0
_TIMES = frozenset({"unix", "unix_ms", "iso", "now", "now_ms", "now_iso"})
_OF_BODY = frozenset({"body", "body_sha256", "body_md5", "fields"})
_OF_PATH = frozenset({"path", "url"})
_OF_CONTENT = frozenset({"amount", "decimal", "unix", "unix_ms", "iso"})
"""What may differ between two events of one key."""
_OLD_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "hmac-sha256-hex": {},
    "hmac-sha256-base64": {"encoding": "base64"},
    "stripe": {"signed": "<unix>.<body>", "signature": "t=<unix>,v1=<signature>"},
}
"""Names of whole forms of ``hmac``: what each sets."""


class Mutation(Section):
    """One way to make a body schema-invalid: remove the value at a dotted path, or set it.

    In a text body, ``remove`` and ``set`` are a piece of the text, and ``to`` is the piece that takes its place.
    """

    remove: str | None = None
    """Dotted path of the value to remove. A number steps into a list."""
    set: str | None = None
    """Dotted path of the value to replace."""
    to: JsonValue = None
    """The new value. Without it: null."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.remove is None) == (self.set is None):
            raise ValueError("give exactly one of remove and set")
        return self


class PersonalField(Section):
    """Where personal data is put into a body, and of which kind."""

    at: str
    """Dotted path. Missing parts of it are made. In a text body: a piece of the text; the value is put before it."""
    kind: Literal["email", "phone", "name", "address", "ip", "ssn"]


class WebhookRoute(Section):
    """What one sender posts: path, headers, signature, body, and the ways to corrupt the body.

    ``sender`` names a preset, which sets the keys of a known sender (docs/senders.md lists them); each key that is
    given beside it holds. Or it names a function ``module:function`` of your own, which makes the whole request.

    Placeholders are filled in ``path``, ``headers``, ``signed``, ``signature`` and ``body``; docs/senders.md explains
    them.
    """

    name: Name
    """What reports call it."""
    sender: Annotated[str, Field(pattern=r"^[a-z0-9-]+$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    """A preset like ``stripe``, or ``module:function``. The module may lie beside the profile."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """HTTP method."""
    path: PathText
    """Path that events are posted to. A query may follow."""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.<>_:-]+$")] | None = None
    """Value of the Host header, like ``<tenant>.example.test``, where the service tells tenants by it."""
    headers: dict[Header, HeaderText] = Field(default_factory=dict)
    """Further headers, like ``X-GitHub-Event = "push"``."""
    scheme: Scheme = "none"
    """How a request is signed: ``none``; ``token`` (the secret itself is sent); ``hmac`` of the text ``signed``. Three
    old names of whole forms hold, too: ``hmac-sha256-hex``, ``hmac-sha256-base64`` and ``stripe``."""
    signature_header: Header | None = None
    """Header that carries the signature. Leave it out where the signature stands in the path, a header or the body as
    ``<signature>``."""
    signature: HeaderText | None = None
    """Value of that header, like ``t=<unix>,v1=<signature>``. Without it: ``<signature>``, and ``<secret>`` for
    ``token``."""
    signature_prefix: HeaderPrefix = ""
    """Text before the signature in that header, where nothing else stands in it."""
    algorithm: Literal["sha256", "sha1", "sha512", "sha384", "md5"] = "sha256"
    """Hash of the HMAC."""
    encoding: Literal["hex", "base64", "hex-upper", "base64url", "base64url-unpadded"] = "hex"
    """How the HMAC is written. ``unpadded``: without ``=`` at its end, as in a JWT."""
    signed: SignedText = "<body>"
    """The text that is signed. ``<body>`` is the body as it is sent, ``<unix>`` the time of signing, ``<url>`` the
    whole address, ``<fields>`` the sorted names and values of a form, one after the other."""
    timestamp_header: Header | None = None
    """Header that carries the time of signing, seconds since 1970."""
    secret: Name = "webhook"
    """Name of the webhook secret. Routes with the same name share it."""
    secret_env: Variable | None = None
    """Environment variable that holds the secret. Without it the rig makes one for each tenant."""
    secret_prefix: HeaderPrefix = ""
    """Text before the secret that is no part of the key, like ``whsec_``."""
    secret_encoding: Literal["text", "base64", "hex"] = "text"
    """How the secret is written: the key is the text itself, or what it decodes to."""
    old_secret_env: Variable | None = None
    """Environment variable with the secret before the last rotation, for ``<old_signature>``. Without it: a random
    one."""
    tolerance_s: Seconds | None = None
    """How old a signature may be; without it 300 where a time is signed. A sender of your own has a limit only where
    this is given."""
    tolerance_ahead_s: Seconds | None = None
    """How far ahead of its own clock the target accepts the time of a signature. Without it that is not tested."""
    content_type: HeaderValue = "application/json"
    """Value of the Content-Type header."""
    content_encoding: Literal["gzip"] | None = None
    """Compresses the body. ``<body>`` in ``signed`` is the compressed one."""
    format: Literal["json", "form", "text"] = "json"
    """How the body is written. ``form``: the JSON object of ``body`` is sent as form fields, a nested value as JSON.
    ``text``: as it stands, for XML and the like."""
    body: str
    """One event with placeholders. ``<events>`` stands for the events of a batch."""
    events: int = Field(default=1, ge=1, le=1000)
    """Events in one request. Each has a key and a row of its own."""
    event: str | None = None
    """One event of a batch. Without it ``body`` is the event, and the request is a JSON array of them."""
    malformed: tuple[Mutation, ...] = ()
    """Ways to make the body schema-invalid. Malformed requests use them in turn. Without any, S3 is not run."""
    personal: tuple[PersonalField, ...] = ()
    """Places for personal data. Requests use each in turn, then all of them at once. Without any, S4 is not run."""
    fields: dict[Identifier, ContentField] = Field(default_factory=dict)
    """What the columns of ``truth.canonical`` hold of this route's event. Adds to ``truth.canonical.fields``, or takes
    the place of one of them, column by column."""
    answers: dict[RequestClass, RouteAnswer] = Field(default_factory=dict)
    """What this route answers where that differs from ``[answers]``, like ``{ replay = { status = [409] } }``. Each key
    takes the place of the same key there."""

    @model_validator(mode="before")
    @classmethod
    def _take_presets(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = _preset(given.get("sender"))
        whole = {**known, **given}
        if known.get("headers"):
            own = given.get("headers") or {}
            names = {str(name).lower() for name in own} if isinstance(own, dict) else set()
            kept = {name: text for name, text in known["headers"].items() if name.lower() not in names}
            whole["headers"] = (
                kept | {name: text for name, text in own.items() if text is not None} if isinstance(own, dict) else own
            )
        old = _OLD_SCHEMES.get(str(whole.get("scheme")))
        if old is not None:
            taken = [key for key in ("signed", "signature", "encoding", "algorithm") if key in old and key in given]
            if taken or (whole["scheme"] == "stripe" and given.get("signature_prefix")):
                own = ", ".join(taken) or "signature_prefix"
                raise ValueError(
                    f'scheme {whole["scheme"]!r} has its own {own}; leave it out, or write scheme = "hmac"'
                )
            whole = {**whole, **old, "scheme": "hmac"}
        return whole

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.signature is not None and self.signature_header is None:
            raise ValueError("signature needs signature_header: the header that carries it")
        if self.signature is not None and self.signature_prefix:
            raise ValueError("give signature or signature_prefix, not both")
        if self.scheme == "none" and (self.signature_header or self.timestamp_header):
            raise ValueError('scheme "none" signs nothing; leave out signature_header and timestamp_header')
        if self.scheme == "hmac" and not self._carries("signature"):
            raise ValueError("nothing carries the signature: give signature_header, or <signature> in a text")
        if self.scheme == "token" and not (self.signature_header or self._carries("secret", "secret_base64")):
            raise ValueError("nothing carries the token: give signature_header, or <secret> in path, headers or body")
        if self.events > 1 and self.event is not None and "events" not in names_in(self.body):
            raise ValueError("body needs <events> where event is given")
        if self.timestamp_header is not None and "unix" not in names_in(self.signed):
            raise ValueError(
                "give <unix> in signed where timestamp_header is given, else the time is not signed; where "
                f'milliseconds are signed, write headers = {{ {self.timestamp_header} = "<unix_ms>" }} in its place'
            )
        if (
            self.scheme == "hmac"
            and names_in(self.signed) & _TIMES
            and not (self.timestamp_header or self._sends_time())
        ):
            raise ValueError(
                "the signed text has a time that no header carries: give timestamp_header, or <unix> in signature, "
                "headers or path"
            )
        return self

    @model_validator(mode="after")
    def _signature_comes_first(self) -> Self:
        """What carries its own signature cannot be signed."""
        signed = names_in(self.signed)
        for where, text, parts in (("body", self.body, _OF_BODY), ("path", self.path, _OF_PATH)):
            if "signature" in names_in(text) and (both := signed & parts):
                raise ValueError(f"{where} carries <signature>, so signed cannot have <{min(both)}>")
        return self

    def _carries(self, *names: str) -> bool:
        texts = [self.path, self.body, *self.headers.values(), self.signature or ""]
        return bool(self.signature_header and "signature" in names) or any(
            names_in(text) & set(names) for text in texts
        )

    def _sends_time(self) -> bool:
        texts = [self.path, self.signature or "", *self.headers.values()]
        return any(names_in(text) & _TIMES for text in texts) or bool(names_in(self.body) & _TIMES)

    @property
    def signature_text(self) -> str | None:
        """The value of the signature header; None where there is no such header."""
        if self.signature_header is None:
            return None
        return self.signature or self.signature_prefix + ("<secret>" if self.scheme == "token" else "<signature>")

    @property
    def is_signed(self) -> bool:
        """Whether a secret proves where a request comes from."""
        return self.scheme != "none" or self.hook is not None

    @property
    def signs_body(self) -> bool:
        """Whether the signature is an HMAC over the body as it is sent."""
        return self.scheme == "hmac" and bool(names_in(self.signed) & {"body", "body_sha256", "body_md5"})

    @property
    def needs_secret(self) -> bool:
        """Whether a request cannot be made without the secret that the target knows."""
        return self.is_signed or bool(self.placeholders & {"secret", "secret_base64"})

    @property
    def max_age_s(self) -> float | None:
        """How old a signature may be when it is checked; None where it never becomes too old."""
        if self.hook is None and not (self.scheme == "hmac" and names_in(self.signed) & _TIMES):
            return None
        return self.tolerance_s or (None if self.hook else _TOLERANCE_S)

    @property
    def hook(self) -> str | None:
        """The function that makes the whole request, as ``module:function``."""
        if self.sender is None:
            return None
        return self.sender if ":" in self.sender else _presets()[self.sender].get("hook")

    @property
    def placeholders(self) -> frozenset[str]:
        texts = (self.path, self.host or "", self.signed, self.signature_text or "", *self.headers.values())
        return self.placeholders_of_body.union(*map(names_in, texts))

    @property
    def placeholders_of_body(self) -> frozenset[str]:
        """The placeholders of the body, and of the events in it."""
        return names_in(self.body) | names_in(self.event or "")

    def variants(self, request_class: RequestClass) -> int:
        """How many different bodies the requests of a class have."""
        match request_class:
            case RequestClass.MALFORMED:
                return len(self.malformed)
            case RequestClass.PERSONAL:
                return len(self.personal) + (len(self.personal) > 1)
            case _:
                return 1

    def can_express(self, request_class: RequestClass) -> bool:
        """Whether the route has requests of this class at all."""
        match request_class:
            case RequestClass.MALFORMED:
                return bool(self.malformed)
            case RequestClass.PERSONAL:
                return bool(self.personal)
            case RequestClass.INVALID_JSON:  # a form that is cut off is a form
                return self.format == "json" or (self.format == "text" and self.body.lstrip().startswith("<"))
            case RequestClass.FORGED:  # of each kind ``rig.requests.forgery`` says it
                return self.needs_secret
            case RequestClass.CONFLICT:
                return bool(self.placeholders_of_body & _OF_CONTENT)
            case _:
                return True


@cache
def _presets() -> Mapping[str, Mapping[str, Any]]:
    with _PRESETS.open("rb") as file:
        return tomllib.load(file)


def sender_names() -> tuple[str, ...]:
    """The names of all presets."""
    return tuple(sorted(_presets()))


def sender_preset(name: str) -> Mapping[str, Any]:
    """All that is known of a sender: the keys of its route (``route``), a sample, where it is documented."""
    return _presets()[name]


def without_preset_headers(route: Any, filled: Mapping[str, object]) -> Any:
    """A route as it was written, for which its sender's preset sets none of the headers that the rig fills.

    ``filled`` is ``[headers]``. What may be signed stays: a header that holds more than a fixed text, or the key.
    """
    known = _presets().get(str(route.get("sender")), {}).get("route", {}) if isinstance(route, dict) else {}
    own = route.get("headers", {}) if known.get("headers") else None
    if not isinstance(own, dict):
        return route
    named = {str(name).lower() for key, name in filled.items() if key != "tenant_key_prefix"}
    key_header = str(filled.get("idempotency_key")).lower()
    dropped = {
        name: None
        for name, text in known["headers"].items()
        if name.lower() in named and (not names_in(text) or (text == "<key>" and name.lower() == key_header))
    }
    return {**route, "headers": dropped | own}


def _preset(sender: object) -> dict[str, Any]:
    """The keys that a preset sets; empty for a function."""
    if sender is None or (isinstance(sender, str) and ":" in sender):
        return {}
    if sender not in _presets():
        raise ValueError(
            f"sender {str(sender)[:80]!r} is no preset and no module:function; presets: {', '.join(sender_names())}"
        )
    return dict(_presets()[str(sender)].get("route", {}))
