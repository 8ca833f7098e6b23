"""Other ways to write and sign a request, for a target that refuses the right one. Pure.

An ``OtherWay`` changes one thing about which services and profiles often disagree. Where a target lets in a request
that is changed so, the change is the cause of its refusal (``rig.target.refusal`` asks it). The likely ones come first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rig.profile import Profile, WebhookRoute
from rig.profile.edit import key_text, value_text
from rig.profile.placeholders import names_in
from rig.profile.routes import sender_names, sender_preset

_BYTES_AS_THEY_CAME = "it must check the bytes of the body as they came, before anything reads or changes them"
_ENCODINGS = ("hex", "base64", "hex-upper", "base64url")
_ALGORITHMS = ("sha256", "sha1", "sha512")
_PREFIXES = ("", "v1=", "v1,", "v0=")
_TOKEN_PREFIXES = ("", "Bearer ", "Token ")
_HEADERS = (
    "X-Signature", "X-Webhook-Signature", "X-Hub-Signature-256", "X-Signature-256", "X-Signature-SHA256", "Signature",
    "Webhook-Signature", "X-Hmac-Signature", "X-Hmac-SHA256", "X-Sign", "Authorization", "X-Webhook-Token", "X-Token",
)  # fmt: skip
_OF_SIGNATURE = (
    "scheme", "signature_header", "signature", "signature_prefix", "algorithm", "encoding", "signed",
    "timestamp_header", "secret_prefix", "secret_encoding",
)  # fmt: skip
_SKEW_LEAST_S = 5
_SAFE_INTEGER = 10**15


@dataclass(frozen=True, slots=True)
class OtherWay:
    """One change. ``keys`` are those of the route that it gives another value; ``cause`` says what follows from it."""

    cause: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    rewrite: Callable[[bytes], bytes] = bytes
    """Writes the body otherwise, before it is signed."""
    secret: Callable[[str], str] = str
    ahead_s: float = 0.0
    mends_route: bool = False
    """Whether the route should have these keys."""


def other_ways(profile: Profile, route: WebhookRoute, skew_s: float = 0.0) -> Iterator[OtherWay]:
    """All that a route can have. ``skew_s``: how far the target's clock is ahead of this machine's."""
    if route.signs_body or route.hook is not None:
        yield from _ways_of_body(route)
    if route.max_age_s is not None:
        yield from _ways_of_time(route, skew_s)
    if route.hook is None and route.scheme != "none":
        yield from _ways_of_signature(route)
        yield from _ways_of_secret(route)
        yield from _ways_of_header(route)
        yield from _ways_of_senders(route)
    yield from _ways_of_api_key(profile, route)


def _ways_of_body(route: WebhookRoute) -> Iterator[OtherWay]:
    over = "the target checks the signature over"
    yield OtherWay(f"{over} the body without the white space at its ends; {_BYTES_AS_THEY_CAME}", rewrite=bytes.strip)
    yield OtherWay(
        f"{over} a text in another encoding: it lets in a body of ASCII characters only; {_BYTES_AS_THEY_CAME}",
        rewrite=_write_in_ascii,
    )
    for separators in ((",", ":"), (", ", ": ")) if route.format == "json" else ():
        yield OtherWay(
            f"{over} JSON that it reads and writes anew: it lets in a body with sorted keys, plain letters and whole "
            f"numbers, which stays the same then; {_BYTES_AS_THEY_CAME}",
            rewrite=lambda body, separators=separators: _write_plainly(body, separators),  # type: ignore[misc]
        )
    if route.content_encoding:
        yield OtherWay(f"{over} the body before it is compressed", {"content_encoding": None})


def _write_in_ascii(body: bytes) -> bytes:
    return re.sub(rb"[^\x00-\x7f]+", b"x", re.sub(rb"\\u[0-9a-fA-F]{4}", b"x", body))


def _write_plainly(body: bytes, separators: tuple[str, str]) -> bytes:
    """JSON that every common writer gives back byte for byte, but for its spaces."""

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {_plain_text(key): plain(value) for key, value in node.items()}
        if isinstance(node, list):
            return [plain(each) for each in node]
        if isinstance(node, str):
            return _plain_text(node)
        if isinstance(node, float) or (type(node) is int and abs(node) >= _SAFE_INTEGER):
            return int(node) % _SAFE_INTEGER
        return node

    return json.dumps(plain(json.loads(body)), separators=separators, sort_keys=True).encode()


def _plain_text(text: str) -> str:
    """Without what one of the writers escapes."""
    return re.sub(r"[^ -~]|[\"\\/<>&']", "x", text)


def _ways_of_time(route: WebhookRoute, skew_s: float) -> Iterator[OtherWay]:
    if abs(skew_s) >= _SKEW_LEAST_S:
        direction = "ahead of" if skew_s > 0 else "behind"
        off = f"{abs(skew_s):.0f} s {direction}"
        yield OtherWay(f"its clock is {off} this machine's: set the clocks alike", ahead_s=skew_s)
    if "unix" in names_in(route.signed):
        keys: dict[str, Any] = {"signed": route.signed.replace("<unix>", "<unix_ms>")}
        if route.signature is not None and "<unix>" in route.signature:
            keys["signature"] = route.signature.replace("<unix>", "<unix_ms>")
        headers = {name: text.replace("<unix>", "<unix_ms>") for name, text in route.headers.items()}
        if route.timestamp_header is not None:
            headers[route.timestamp_header], keys["timestamp_header"] = "<unix_ms>", None
        if headers != route.headers:
            keys["headers"] = headers
        yield _with_keys(route, keys)


def _ways_of_signature(route: WebhookRoute) -> Iterator[OtherWay]:
    """The hash, how it is written, and what stands before it."""
    if route.scheme == "token":
        yield from (_with_text(route, f"{prefix}<secret>") for prefix in _TOKEN_PREFIXES)
        yield _with_text(route, "Basic <secret_base64>")
        return
    algorithms = dict.fromkeys((route.algorithm, *_ALGORITHMS))
    for algorithm in algorithms:
        prefixes = (f"{algorithm}=", *(_PREFIXES if algorithm == route.algorithm else ("",)))
        texts = [(route.signature_text or "").replace(route.algorithm, algorithm)]
        texts += [f"{prefix}<signature>" for prefix in prefixes] if route.signature_header else []
        for text in dict.fromkeys(texts):
            for encoding in _ENCODINGS:
                keys = {"encoding": encoding, "algorithm": algorithm}
                yield _with_text(route, text, keys)


def _with_text(route: WebhookRoute, text: str, keys: Mapping[str, Any] | None = None) -> OtherWay:
    """The route with another text in the header of its signature."""
    own = "<secret>" if route.scheme == "token" else "<signature>"
    if not text:
        return _with_keys(route, keys or {})
    if route.signature is not None or not text.endswith(own):
        return _with_keys(route, {"signature": text, "signature_prefix": "", **(keys or {})})
    return _with_keys(route, {"signature_prefix": text.removesuffix(own), **(keys or {})})


def _ways_of_secret(route: WebhookRoute) -> Iterator[OtherWay]:
    name = f"${route.secret_env}" if route.secret_env else f"the secret {route.secret!r}"
    yield OtherWay(f"{name} has white space at its ends, and that of the target has none", secret=str.strip)
    yield OtherWay(
        f"the target's secret is that of the rig with a line end after it, as where it is read from a file: {name}",
        secret=lambda secret: secret + "\n",
    )
    for encoding in ("text", "base64", "hex"):
        for prefix in dict.fromkeys(("", "whsec_", route.secret_prefix)):
            yield _with_keys(route, {"secret_encoding": encoding, "secret_prefix": prefix})


def _ways_of_header(route: WebhookRoute) -> Iterator[OtherWay]:
    presets = (sender_preset(name).get("route", {}).get("signature_header") for name in sender_names())
    for header in dict.fromkeys((*_HEADERS, *filter(None, presets))) if route.signature_header else ():
        yield _with_keys(route, {"signature_header": header})


def _ways_of_senders(route: WebhookRoute) -> Iterator[OtherWay]:
    for name in sender_names():
        preset = sender_preset(name).get("route", {})
        if preset.get("scheme") not in ("hmac", "token") or "signature_header" not in preset:
            continue
        fields = WebhookRoute.model_fields
        keys = {key: preset.get(key, fields[key].get_default()) for key in _OF_SIGNATURE}
        if headers := {**preset.get("headers", {}), **route.headers}:
            keys["headers"] = headers
        way = _with_keys(route, keys)
        yield replace(way, cause=f"{way.cause} (as sender = {value_text(name)} has them)")


def _ways_of_api_key(profile: Profile, route: WebhookRoute) -> Iterator[OtherWay]:
    header, own = profile.headers.tenant_key, profile.headers.tenant_key_prefix
    for prefix in _TOKEN_PREFIXES if header is not None else ():
        if prefix != own:
            yield OtherWay(
                f"write tenant_key_prefix = {value_text(prefix)} into [headers]",
                {"headers": {**route.headers, str(header): f"{prefix}<api_key>"}},
            )


def _with_keys(route: WebhookRoute, keys: Mapping[str, Any]) -> OtherWay:
    """The change of some keys, without those that the route has already. ``cause`` is empty where none is left."""
    changed = {key: value for key, value in keys.items() if value != getattr(route, key)}
    written = ", ".join(f"{key_text(key)} = {value_text(value)}" for key, value in changed.items() if value is not None)
    gone = ", ".join(key for key, value in changed.items() if value is None)
    said = " and ".join(filter(None, (f"write {written}" if written else "", f"take out {gone}" if gone else "")))
    return OtherWay(f"{said} in route {route.name!r}" if said else "", changed, mends_route=True)
