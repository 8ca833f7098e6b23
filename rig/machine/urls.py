"""The address of a service, taken apart: the one place that knows what is none."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def split_base_url(url: str) -> SplitResult:
    """Its parts; ValueError where it has not a scheme, a host, perhaps a port and a path, and nothing else.

    The error never repeats it: what somebody put before an @ may be a password, and with a / in it a part of it stands
    where the port belongs.
    """
    try:
        parts = urlsplit(url)
        is_place = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_place = False
    if not is_place or not url.isascii() or not url.isprintable() or set(url) & set(" ?#@"):
        raise ValueError("it must look like http://127.0.0.1:8080; a path may follow, and nothing else")
    return parts
