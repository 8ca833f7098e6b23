"""What one pasted request says of a route: sender, headers, secrets by the names of variables, body. Pure.

Nothing that proves who sent a request gets into a profile: signatures become placeholders, keys and passwords become
the names of environment variables, cookies are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from rig.init.curl import CurlRequest
from rig.init.sample_event import SampleEvent, read_event, walk
from rig.profile.placeholders import IN_HEADER, names_in
from rig.profile.routes import sender_names, sender_preset

_DROPPED = re.compile(
    r"accept(-.*)?|sec-.*|connection|content-length|host|expect|transfer-encoding|te|trailer|upgrade.*|dnt|origin|"
    r"referer|priority|pragma|cache-control|postman-token|cookie|content-type|content-encoding|x-forwarded-.*|if-.*|proxy-.*",
    re.IGNORECASE,
)
_AGENT = re.compile(r"mozilla|curl|postman|insomnia|httpie|python|okhttp", re.IGNORECASE)
_SIGNATURE = re.compile(r"signature|hmac|(^|-)(sig|sign|seal|digest|mac)(-|$)|-seal|-digest|-mac$", re.IGNORECASE)
_SECRET = re.compile(r"api[-_]?key|auth|token|secret|password|credential|access[-_]?key|-key$", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"(sk|pk|rk)_(live|test)_|whsec_|gh[pousr]_|xox[abpr]-|eyJ[\w-]+\.|Bearer |Basic ", re.IGNORECASE
)
_SECRET_FIELD = re.compile(
    r"(.*(secret|password|api_?key|access_?token|private_?key).*|token|signature)$", re.IGNORECASE
)
_IDEMPOTENCY = re.compile(r"idempotency|(^|-)(delivery|event|webhook|message)(-?(id|uuid))?$|dedup", re.IGNORECASE)
_CORRELATION = re.compile(r"correlation|request-?id|trace-?id|trace$", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_HEX = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
_BASE64 = {24: "md5", 28: "sha1", 44: "sha256", 64: "sha384", 88: "sha512"}
_STRIPE_LIKE = re.compile(r"t=\d+,v1=[0-9a-f]{64}.*", re.IGNORECASE)
_PREFIXED = re.compile(r"([A-Za-z][A-Za-z0-9]{0,8}[=,])?(.+)", re.DOTALL)


@dataclass(slots=True)
class Pasted:
    """What is known of a route before a question is asked. ``answers`` are by the names of the questions."""

    answers: dict[str, str] = field(default_factory=dict)
    sender: str = ""
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = ""
    event: SampleEvent | None = None
    notes: list[str] = field(default_factory=list)
    """What was not taken over, and what is to be set: for the user."""


def recognise(headers: Mapping[str, str]) -> str:
    """The preset whose requests have such headers; empty where there is none. The plainest of several."""
    names = {name.lower() for name in headers}
    form = "urlencoded" in headers.get("Content-Type", "")
    found = []
    for sender in sender_names():
        preset = sender_preset(sender)
        route = preset.get("route", {})
        signed = {name for name, text in route.get("headers", {}).items() if "signature" in names_in(text)}
        signed |= {route.get("signature_header", ""), preset.get("known_by", "")} - {""}
        if any(name.lower() in names for name in signed if name.lower() != "authorization"):
            found.append((form != (route.get("format") == "form"), "sha1" in sender, len(sender), sender))
    return min(found)[-1] if found else ""


def take_over(request: CurlRequest) -> Pasted:
    """What a request says of the route. UsageError where its body is no event."""
    given = dict({name.lower(): (name, value) for name, value in request.headers}.values())
    pasted = Pasted(sender=recognise({**given, "Content-Type": _content_type(given)}), method=request.method)
    pasted.answers |= {"base-url": request.base_url}
    pasted.content_type = _content_type(given).strip()
    pasted.event = _without_secrets(read_event(request.body, "the body of the curl command"), pasted)
    known = sender_preset(pasted.sender).get("route", {}) if pasted.sender else {}
    if pasted.sender:
        pasted.notes.append(
            f"its headers are those of {sender_preset(pasted.sender)['title']}: sender = {pasted.sender!r}"
        )
    if known.get("content_type", "application/json") == pasted.content_type:
        pasted.content_type = ""
    pasted.answers["route"] = _path(request.path, pasted)
    _credentials(request, given, known, pasted)
    _other_headers(given, known, pasted)
    return pasted


def _content_type(headers: Mapping[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() == "content-type"), "")


def _without_secrets(event: SampleEvent, pasted: Pasted) -> SampleEvent:
    if event.format == "text":
        return event
    for path, value in walk(event.content):
        if _SECRET_FIELD.fullmatch(path[-1]) and isinstance(value, str) and value and not any("." in at for at in path):
            event = event.put(".".join(path), "unused")
            pasted.notes.append(
                f"the body's {'.'.join(path)} looks like a secret: it is not written ('unused' is sent)"
            )
    return event


def _path(path: str, pasted: Pasted) -> str:
    """The path, with a placeholder for a secret or a signature in its query."""
    parts = urlsplit(path)
    pairs = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if _SIGNATURE.search(name) and pasted.sender == "":
            pasted.answers |= {"scheme": "hmac", "signature-header": ""} | _written(value)
            pairs.append(f"{quote(name)}=<signature>")
        elif _SECRET.search(name) or _SECRET_VALUE.match(value) or name.lower() in ("key", "sig"):
            pasted.answers |= {"scheme": "token", "signature-header": ""}
            pasted.notes.append(f"the secret of the query ({name}) is not written: export it as $WEBHOOK_SECRET")
            pairs.append(f"{quote(name)}=<secret>")
        else:
            pairs.append(f"{quote(name)}={quote(value, safe='/:,')}")
    clean = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
    return clean + (f"?{'&'.join(pairs)}" if pairs else "")


def _credentials(request: CurlRequest, given: dict[str, str], known: Mapping[str, Any], pasted: Pasted) -> None:
    """Signature and key of the sender, taken out of ``given``."""
    preset = {str(known.get("signature_header", "")).lower(), str(known.get("timestamp_header", "")).lower()}
    for name in [name for name in given if name.lower() in preset or _SIGNATURE.search(name)]:
        value = given.pop(name)
        if not pasted.sender and "scheme" not in pasted.answers:
            pasted.answers |= {"signature-header": name} | _signature(value)
            pasted.notes.append(f"{name} is taken for the signature ({pasted.answers['scheme']}); correct it if not")
    authorization = next((name for name in given if name.lower() == "authorization"), "")
    value = given.pop(authorization, "") or ("Basic" if request.user else "")
    if value:
        _key("Authorization", f"{value.partition(' ')[0]} " if " " in value or request.user else "", pasted)
    for name in [name for name in given if _is_secret(name, given[name])]:
        value = given.pop(name)
        if name.lower() not in {str(each).lower() for each in known.get("headers", {})}:
            _key(name, f"{value.partition(' ')[0]} " if re.match(r"(Bearer|Token) ", value) else "", pasted)
    if not pasted.sender:
        pasted.answers.setdefault("scheme", "none")


def _is_secret(name: str, value: str) -> bool:
    if _DROPPED.fullmatch(name) or _IDEMPOTENCY.search(name):
        return False
    return bool(_SECRET.search(name) or _SECRET_VALUE.match(value))


def _key(header: str, prefix: str, pasted: Pasted) -> None:
    """A key in a header: the webhook's token where nothing else proves the sender, else the key of the tenant."""
    if not pasted.sender and "scheme" not in pasted.answers:
        pasted.answers |= {"scheme": "token", "signature-header": header, "signature-prefix": prefix}
        what = "user:password" if prefix == "Basic " else "it"
        pasted.notes.append(f"the value of {header} is a secret and is not written: export {what} as $WEBHOOK_SECRET")
    elif "tenant-header" not in pasted.answers and prefix != "Basic ":
        pasted.answers |= {"tenant-header": header, "tenant-prefix": prefix}
        pasted.notes.append(f"the value of {header} is a secret and is not written: it is the tenant's API key")
    else:
        pasted.notes.append(
            f"the header {header} is a second secret: it is left out; write it into the profile by hand"
        )


def _signature(value: str) -> dict[str, str]:
    """Scheme and prefix of a signature that is written so."""
    if _STRIPE_LIKE.fullmatch(value):
        return {"scheme": "stripe", "signature-prefix": ""}
    found = _PREFIXED.fullmatch(value)
    prefix, text = (found.group(1) or "", found.group(2)) if found else ("", value)
    return {"signature-prefix": prefix} | _written(text)


def _written(text: str) -> dict[str, str]:
    """Scheme, algorithm and encoding of an HMAC that is written so."""
    if re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", text) and len(text) in _HEX:
        algorithm, encoding = _HEX[len(text)], "hex" if text == text.lower() else "hex-upper"
    elif re.fullmatch(r"[A-Za-z0-9+/_-]+=*", text) and (padded := len(text) + -len(text) % 4) in _BASE64:
        algorithm, encoding = _BASE64[padded], "base64url" if set(text) & set("-_") else "base64"
        encoding = "base64url-unpadded" if padded > len(text) else encoding
    else:
        algorithm, encoding = "sha256", "hex"
    if algorithm == "sha256" and encoding in ("hex", "base64"):
        return {"scheme": f"hmac-sha256-{encoding}"}
    return {"scheme": "hmac", "algorithm": algorithm, "encoding": encoding}


def _other_headers(given: Mapping[str, str], known: Mapping[str, Any], pasted: Pasted) -> None:
    """The headers of the route, and those that name the event or the request."""
    preset = {str(name).lower(): str(text) for name, text in known.get("headers", {}).items()}
    for name, value in given.items():
        if _DROPPED.fullmatch(name) or (name.lower() == "user-agent" and _AGENT.search(value)):
            if name.lower() == "cookie":
                pasted.notes.append("the cookies are not written")
        elif "<" in preset.get(name.lower(), "") or value == preset.get(name.lower()):
            continue  # the preset writes it
        elif _IDEMPOTENCY.search(name) and "idempotency-header" not in pasted.answers and _is_id(name, value):
            pasted.answers["idempotency-header"] = name
        elif _CORRELATION.search(name) and "correlation-header" not in pasted.answers:
            pasted.answers["correlation-header"] = name
        elif not value.isascii() or not value.isprintable() or not value:
            pasted.notes.append(f"the header {name} is left out: its value is empty or beyond ASCII")
        elif names_in(value) - {*IN_HEADER}:
            pasted.notes.append(f"the header {name} is left out: <…> in it is no placeholder")
        else:
            spelled = next((each for each in known.get("headers", {}) if each.lower() == name.lower()), name)
            pasted.headers[spelled] = _now(value)


def _is_id(name: str, value: str) -> bool:
    return bool(_UUID.fullmatch(value) or re.search(r"idempotency|dedup|id$|delivery$", name, re.IGNORECASE))


def _now(value: str) -> str:
    """A header's value; a time becomes that of the sending."""
    if re.fullmatch(r"1[6-9]\d{8}", value):
        return "<unix>"
    if re.fullmatch(r"1[6-9]\d{11}", value):
        return "<unix_ms>"
    return value
