"""The subjects of the key storm: anything that is made by ``factory(environ) -> verify(token)``.

``verify`` returns where the token is accepted, and raises (or returns False) where it is refused; ``Failed`` means
neither. It may be asynchronous. It may have an attribute ``fetches``: its own count of this process's fetches. A
factory finds in its environment ``JWKS_URL``, the settings to keep to (``rig.evidence.verifier_settings``), and
``DATABASE_URL``. The factories here use libraries as their documents do, or a fleet behind HTTP. Members of a fleet
import this module: it imports nothing heavy.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rig.evidence.bad_tokens import FORGED
from rig.evidence.key_case import KeyCase
from rig.evidence.storm import REFERENCE
from rig.evidence.verifier_settings import VerifierTraits
from rig.machine.child import end, free_port, is_listening, start, wait_until
from rig.storms.unknown_kid.cases import CASES
from rig.storms.unknown_kid.keyring import AUDIENCE, ISSUER
from rig.target.endpoint import Endpoint, TlsFiles

Verify = Callable[[str], object]
_READY_S = 30.0
_ENDS_S = 0.2
_HEADER_BYTES = 4096
"""A server may refuse a longer header in its own way: 431, 400, or by closing the connection."""


class Failed(Exception):
    """The fleet answered with a status that is neither "accepted" nor "rejected", or not at all.

    An exception of this name is no refusal (``rig.evidence.bad_tokens.FAILED``).
    """


class Rejected(Exception):
    """The fleet refused the token."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A verifier to test. ``path`` is a folder with libraries that comes first, ``module_dir`` one with the factory's
    module that comes last; ``environ`` is added to the members'.

    ``prepare`` is a command that makes its tables, where it shares its keys in the rig's database; ``decisions_sql``
    then reads what it wrote down about its fetches: failures in a row, wait in seconds, error. A ``remote`` subject
    runs already: the rig can neither stop it nor set it. ``promises`` are settings that it has whatever a case says;
    ``traits`` is what it says of itself. ``origin_port`` is where it looks for keys. ``needs`` is a module that must be
    installed. ``issuer`` is whose tokens it takes; ``{origin}`` in it is the address of the origin, which sends
    ``cache_control`` with its key sets.
    """

    name: str
    factory: str
    path: str = ""
    module_dir: str = ""
    environ: tuple[tuple[str, str], ...] = ()
    prepare: tuple[str, ...] = ()
    decisions_sql: str = ""
    remote: bool = False
    promises: tuple[tuple[str, float], ...] = ()
    traits: VerifierTraits = field(default_factory=VerifierTraits)
    origin_port: int = 0
    issuer: str = ISSUER
    cache_control: str | None = None
    needs: str = ""

    @property
    def uses_database(self) -> bool:
        """Whether it keeps its keys in the rig's database."""
        return bool(self.prepare)

    def case(self, name: str) -> KeyCase:
        """A case of the storm, built for what this subject keeps to."""
        build = CASES[name]
        own = build(None).verifier_settings
        settings = replace(own, **dict(self.promises)).rounded_to(self.traits.grain_s)
        return build(None if settings == own else settings)


REFERENCE_SUBJECT = Subject(
    REFERENCE,
    "fleet_jwks:factory",
    prepare=("{python}", "-m", "fleet_jwks"),
    decisions_sql="SELECT failures, wait_s, error FROM jwks_fetches ORDER BY ended_at",
    traits=VerifierTraits(waits=True, without_key_id="refused"),
)
PYJWT = Subject("pyjwt", "rig.storms.unknown_kid.subjects:pyjwt", needs="jwt")
AUTHLIB = Subject("authlib", "rig.storms.unknown_kid.subjects:authlib", needs="authlib")
READY = {subject.name: subject for subject in (REFERENCE_SUBJECT, PYJWT, AUTHLIB)}
FLAWED = {
    name: replace(REFERENCE_SUBJECT, name=name, factory=f"stub_server.flawed_verifiers:{made}")
    for name, made in (
        ("flawed-believing", "Believing"),
        ("flawed-tripping", "Tripping"),
        ("flawed-remembering", "Remembering"),
        ("flawed-giving-up", "GivingUp"),
        ("flawed-hanging-up", "HangingUp"),
        ("flawed-alone", "alone"),
        ("flawed-patient", "patient"),
        ("flawed-resigned", "resigned"),
        ("flawed-eager", "Eager"),
        ("flawed-forgetful", "Forgetful"),
        ("flawed-hasty", "Hasty"),
        ("flawed-dying", "Dying"),
        ("flawed-stumbling", "Stumbling"),
        ("flawed-presuming", "Presuming"),
        ("flawed-asking", "Asking"),
        ("flawed-caching", "Caching"),
        ("flawed-hoarding", "Hoarding"),
        *((f"flawed-{kind}", f"accepting_{kind}") for kind in FORGED),
    )
}
"""The reference with one mistake each, for ``rig prove``: mistakes that no protection of its own prevents."""


def load(factory: str) -> Callable[[Mapping[str, str]], Verify]:
    """The factory of that name; ImportError, AttributeError or ValueError where there is none."""
    module, _, name = factory.partition(":")
    found: Callable[[Mapping[str, str]], Verify] = getattr(importlib.import_module(module), name)
    return found


def pyjwt(environ: Mapping[str, str]) -> Verify:
    """PyJWT's ``PyJWKClient``, one for each process; with the case's cool-down, where its release has one."""
    jwt: Any = importlib.import_module("jwt")
    options: dict[str, float] = {
        "lifespan": float(environ["JWKS_TTL_S"]),
        "timeout": float(environ["JWKS_FETCH_TIMEOUT_S"]),
    }
    if "cooldown_duration" in jwt.PyJWKClient.__init__.__annotations__:
        options["cooldown_duration"] = float(environ["JWKS_COOL_DOWN_S"])
    client = jwt.PyJWKClient(environ["JWKS_URL"], **options)
    algorithms, issuer = environ["JWKS_ALGORITHMS"].split(","), environ["JWKS_ISSUER"]
    takes_jwk = "PyJWK" in str(jwt.decode.__annotations__.get("key"))  # from 2.9 on; then a key is for its algorithm

    def verify(token: str) -> object:
        key = client.get_signing_key_from_jwt(token)
        return jwt.decode(token, key if takes_jwk else key.key, algorithms=algorithms, audience=AUDIENCE, issuer=issuer)

    return verify


def authlib(environ: Mapping[str, str]) -> Verify:
    """Authlib's OpenID client. Authlib decides when to fetch; this adapter sends the request."""
    module: Any = importlib.import_module("authlib.integrations.base_client.sync_openid")
    mixin: Any = module.OpenIDMixin
    timeout_s = float(environ["JWKS_FETCH_TIMEOUT_S"])

    class AuthlibClient(mixin):  # type: ignore[misc]  # the class of whatever release is installed
        client_id = AUDIENCE
        server_metadata: Mapping[str, Any] = {
            "issuer": environ["JWKS_ISSUER"],
            "jwks_uri": environ["JWKS_URL"],
            "id_token_signing_alg_values_supported": environ["JWKS_ALGORITHMS"].split(","),
        }

        def __init__(self) -> None:
            self.server_metadata = dict(self.server_metadata)

        def load_server_metadata(self) -> Mapping[str, Any]:
            return self.server_metadata

        def _get_session(self) -> _Session:
            return _Session(timeout_s)

    client = AuthlibClient()

    def verify(token: str) -> object:
        # With an access token it is the code flow, which asks for no nonce.
        return client.parse_id_token({"id_token": token, "access_token": "-"}, nonce=None)

    return verify


class _Session:
    """As much of an HTTP session as Authlib uses."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def request(self, method: str, url: str, **_: object) -> _Response:
        """One request; raises OSError."""
        request = urllib.request.Request(url, method=method)
        with urllib.request.urlopen(request, timeout=self._timeout_s) as response:  # raises for a status of its own
            return _Response(response.read())


@dataclass(frozen=True, slots=True)
class _Response:
    body: bytes

    def raise_for_status(self) -> None:
        """Nothing left to raise for."""

    def json(self) -> Any:
        return json.loads(self.body)


class LaunchedProcess:
    """One process of a fleet behind HTTP, started by the member that asks it. It shares the member's fate."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        port = free_port()
        command = [word.replace("{port}", str(port)) for word in json.loads(environ["RIG_STORM_COMMAND"])]
        log_file = Path(environ["RIG_STORM_LOG"])
        self._process = start(command, output=log_file, env={**environ, "PORT": str(port)})
        if not wait_until(lambda: is_listening(port), self._process, _READY_S):
            raise RuntimeError(f"{command[0]} does not listen at port {port}; logs/{log_file.name} has what it wrote")
        self._ask = http_fleet({**environ, "RIG_STORM_URLS": f"http://127.0.0.1:{port}"})

    def __call__(self, token: str) -> object:
        """The status of an accepted token. Where its process ends of the token, the member ends with it."""
        try:
            return self._ask(token)
        except Failed:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(_ENDS_S)
                if code < 0:
                    signal.raise_signal(-code)
                os._exit(code or 1)
            raise

    def close(self) -> None:
        end(self._process, _ENDS_S, session=True)


def launched_fleet(environ: Mapping[str, str]) -> Verify:
    """A fleet behind HTTP of which each member starts its own process."""
    return LaunchedProcess(environ)


def http_fleet(environ: Mapping[str, str]) -> Verify:
    """A fleet behind HTTP: base URLs in turn, a bearer header, the statuses that mean yes and no."""
    urls = environ["RIG_STORM_URLS"].split(",")
    number = int(environ.get("RIG_STORM_MEMBER", "0")) % len(urls)
    addresses = json.loads(environ.get("RIG_STORM_ADDRESSES", "[]"))
    tls_files = TlsFiles(**json.loads(environ.get("RIG_STORM_TLS_FILES", "{}")))
    base = Endpoint.parse(urls[number], tls_files)
    if addresses:
        base = replace(base, addresses=tuple(addresses[number]))
    path = base.base_path + environ["RIG_STORM_PATH"]
    header, scheme = environ["RIG_STORM_HEADER"], environ["RIG_STORM_SCHEME"]
    accepted = {int(status) for status in environ["RIG_STORM_ACCEPTED"].split(",")}
    rejected = {int(status) for status in environ["RIG_STORM_REJECTED"].split(",")}
    timeout_s = float(environ["RIG_STORM_TIMEOUT_S"])
    tls = base.tls_context()
    local = threading.local()

    def verify(token: str) -> object:
        connection = getattr(local, "connection", None) or http.client.HTTPConnection(base.host, base.port)
        local.connection = connection
        try:
            if connection.sock is None:  # connecting by itself, it would resolve the name again
                connection.sock = base.connect(timeout_s, tls)
            connection.request("GET", path, headers={header: f"{scheme} {token}".strip()})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # the next request opens it again
            if len(token) > _HEADER_BYTES:
                raise Rejected("too large") from None
            raise Failed(type(error).__name__) from None
        except ValueError:  # no header may hold it
            raise Rejected("no header") from None
        if response.status in accepted:
            return response.status
        if response.status in rejected or (len(token) > _HEADER_BYTES and 400 <= response.status < 500):
            raise Rejected(str(response.status))
        raise Failed(str(response.status))

    return verify
