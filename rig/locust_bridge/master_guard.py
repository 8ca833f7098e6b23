"""Who may use locust's web UI: the pages of the UI itself, in the browser of whoever has its token.

Flow: ``guard`` puts a ``UiGuard`` before the whole application, so locust's own routes are behind it, too. It looks at
``Host`` (a foreign name is DNS rebinding), at ``Origin`` and ``Sec-Fetch-Site`` (a page of another site), and for the
token. ``/?token=…`` is exchanged for a cookie. What is refused gets a 403 that says why. The token is made and printed
here, unless the environment gives one.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from locust.web import WebUI
from werkzeug import Request, Response

from rig.locust_bridge.keys import WEB_TOKEN, new_key
from rig.text import shorten

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")
_READS = ("GET", "HEAD")
_HEADERS = (
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


def guard(web_ui: WebUI, given: str, names: Sequence[str]) -> None:
    """Let nobody in but who has the token (``given``, else a new one), under the addresses of loopback, ``--web-host``
    and ``names``. Print the address.
    """
    app = web_ui.app
    assert app is not None
    token, host = given or new_key(), _bracket(web_ui.host)
    app.wsgi_app = UiGuard(app.wsgi_app, token, f"rig-ui-{web_ui.port}", (*_LOOPBACK, host), names)  # type: ignore[method-assign]
    scheme = "https" if web_ui.tls_cert else "http"
    shown = "127.0.0.1" if host in ("", "*", "0.0.0.0", "[::]") else host
    address, secret = f"{scheme}://{shown}:{web_ui.port}{base_path(web_ui)}", f"${WEB_TOKEN}" if given else token
    sys.stderr.write(f"rig: the web UI is at {address}/?token={secret}\n")


def base_path(web_ui: WebUI) -> str:
    """What ``--web-base-path`` puts before every route, without a slash at its end."""
    assert web_ui.app is not None
    return (web_ui.app.blueprints["locust"].url_prefix or "").rstrip("/")


def _bracket(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host.lower()


class UiGuard:
    """A WSGI application before another one. ``names`` are host names of a proxy, ``hosts`` those of the UI itself."""

    def __init__(self, app: WsgiApp, token: str, cookie: str, hosts: Sequence[str], names: Sequence[str]) -> None:
        self._app = app
        self._token = token
        self._cookie = cookie
        self._names = {name.lower() for name in names}
        self._hosts = self._names.union(hosts)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request, or hand it on."""
        request = Request(environ)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            kept = [each for each in headers if not each[0].lower().startswith("access-control-")]
            own = {name.lower() for name, _ in kept}
            return start_response(status, kept + [each for each in _HEADERS if each[0].lower() not in own], *more)

        if why := self._refusal(request):
            return Response(f"Refused: {why}\n", 403, mimetype="text/plain")(environ, start)
        if request.method in _READS and "token" in request.args:
            return self._admit(request)(environ, start)
        return self._app(environ, start)

    def _refusal(self, request: Request) -> str:
        """Why this request is not answered; empty where it is."""
        host = request.headers.get("Host", "").lower()
        found = _HOST.fullmatch(host)
        if found is None or found[1] not in self._hosts:
            return (
                f"this UI is not served under the name {shorten(host)!r}. If that is a proxy of yours, start with "
                "--web-name NAME (locust: --rig-web-name NAME)."
            )
        origin = request.headers.get("Origin")
        if (origin is not None and not self._is_own(origin, host)) or _is_embedded(request):
            return f"this request comes from a page of another origin ({shorten(origin or 'not named')})."
        authorization = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._is_token(request.args.get("token", "")) or self._is_token(authorization):
            return ""
        # A page at another port of this host can put a cookie of the same name before the UI's own.
        if not any(map(self._is_token, request.cookies.getlist(self._cookie))):
            return "the token is missing. Open the address that was printed at the start: it ends in /?token=…"
        if request.method not in _READS and origin is None:
            return "it changes something and names no Origin. A script sends 'Authorization: Bearer TOKEN' instead."
        return ""

    def _is_own(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin.lower())
            return parts.scheme in ("http", "https") and (parts.netloc == host or parts.hostname in self._names)
        except ValueError:
            return False

    def _is_token(self, said: str) -> bool:
        return secrets.compare_digest(said.encode(errors="replace"), self._token.encode())

    def _admit(self, request: Request) -> Response:
        """Exchange the token in the address for a cookie: an address stays in the history and is copied."""
        rest = urlencode([(name, value) for name, value in request.args.items(multi=True) if name != "token"])
        place = quote("/" + request.path.lstrip("/")) + (f"?{rest}" if rest else "")
        answer = Response(status=303, headers={"Location": place})
        answer.autocorrect_location_header = False
        answer.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict", secure=request.is_secure)
        return answer


def _is_embedded(request: Request) -> bool:
    """Whether another site's page fetches this, which a browser of today says; a link that is clicked is none."""
    foreign = request.headers.get("Sec-Fetch-Site", "none") in ("cross-site", "same-site")
    return foreign and not (request.method in _READS and request.headers.get("Sec-Fetch-Dest") == "document")
