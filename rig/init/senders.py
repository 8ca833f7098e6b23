"""The table of senders that ``rig init --list-senders`` prints."""

from __future__ import annotations

from rig.profile.placeholders import names_in
from rig.profile.routes import sender_names, sender_preset

_NEEDS = {
    "none": "nothing",
    "token": "the token",
    "hmac": "the webhook secret",
    "base64": "the secret, base64",
    "hex": "the key, in hex",
    "hook": "the private key",
}


def table() -> str:
    """A line for each sender: its name, what is signed, and which secret is needed."""
    rows = [("--sender", "signs", "you need"), *((name, _signs(name), _needs(name)) for name in sender_names())]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:<{widths[0]}}  {signs:<{widths[1]}}  {needs}" for name, signs, needs in rows)


def _signs(name: str) -> str:
    preset = sender_preset(name)
    route = preset.get("route", {})
    if "hook" in preset:
        return "the whole request, with a private key"
    if route.get("scheme", "none") != "hmac":
        return "nothing: it sends a token" if route.get("scheme") == "token" else "nothing"
    parts = names_in(route.get("signed", "<body>"))
    words = {"method": "method", "url": "address", "unix": "time", "unix_ms": "time", "now": "time", "body": "body",
             "fields": "fields"}  # fmt: skip
    said = list(dict.fromkeys(words[part] for part in words if part in parts)) or ["values of the event"]
    return f"{', '.join(said)} ({route.get('algorithm', 'sha256')})"


def _needs(name: str) -> str:
    preset = sender_preset(name)
    route = preset.get("route", {})
    scheme = "hook" if "hook" in preset else route.get("scheme", "none")
    return _NEEDS[route["secret_encoding"]] if route.get("secret_encoding", "text") != "text" else _NEEDS[scheme]
