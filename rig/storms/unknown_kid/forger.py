"""Forged tokens of every kind (``rig.evidence.bad_tokens``), for every key of a set.

Flow: ``forging(keyring)`` serves the forger's own keys on loopback for tokens that point to them (``jku``, ``x5u``),
and gives all tokens with their kinds. Tokens with wrong claims are signed by the true keys; the others need none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from rig.storms.unknown_kid.keyring import (
    AUDIENCE,
    EDWARDS,
    LIFETIME_S,
    Keyring,
    SigningKey,
    algorithm_of,
    assemble,
    claims,
    make_key,
    sign,
)

_LARGE_BYTES = 100_000
_POLL_S = 0.02
"""How long the end of the pages is waited for."""
_NONES = ("none", "None", "NONE", "nOnE")
_USUAL = ("RS256", "ES256", "EdDSA")

Forged = tuple[str, str]
"""The kind (``forged NAME ALGORITHM``), and the token."""


@contextmanager
def forging(
    keyring: Keyring, unchecked: Collection[str] = (), accepted: Sequence[str] = ()
) -> Iterator[tuple[Forged, ...]]:
    """All forged tokens for a key set, but for those of ``unchecked`` kinds; the forger's keys are served meanwhile.

    ``accepted`` are valid tokens, one of each known key, which the verifier is handed beside them. What it remembers of
    these must not let in what was made of them.
    """
    algorithms = {*_USUAL, *map(algorithm_of, keyring.known)}  # a set of one algorithm is asked with others, too
    strangers = {algorithm: make_key(algorithm, "k-stranger") for algorithm in sorted(algorithms)}
    pen = _Pen(keyring.issuer)
    with _serve({"/jwks.json": _key_set(strangers), **_certificates(strangers)}) as url:
        tokens = [pair for key in keyring.known for pair in _of_key(pen, key, strangers, url)]
        tokens += [("forged form -", token) for token in _break_form(pen, keyring.known[0])]
        # Last: by now the valid ones were accepted.
        for key, token in zip(keyring.known, accepted, strict=False):
            algorithm = algorithm_of(key)
            forged = _change_accepted_token(pen, token, key, strangers[algorithm])
            tokens += [(f"forged signature {algorithm}", each) for each in forged]
        yield tuple((kind, token) for kind, token in tokens if kind.split()[1] not in unchecked)


@dataclass(frozen=True, slots=True)
class _Pen:
    """Writes tokens in the name of an issuer."""

    issuer: str

    def claims(self, **changes: object) -> dict[str, Any]:
        return claims(**{"iss": self.issuer, **changes})

    def sign(
        self, key: SigningKey, header: Mapping[str, Any] | None = None, changed: Mapping[str, Any] | None = None
    ) -> str:
        return sign(key, header, {"iss": self.issuer, **(changed or {})})


def _of_key(pen: _Pen, key: SigningKey, strangers: Mapping[str, SigningKey], url: str) -> Iterator[Forged]:
    """Forged tokens that name one key."""
    algorithm, now = algorithm_of(key), pen.claims()["iat"]
    for name, tokens in {
        "signature": _sign_badly(pen, key, strangers[algorithm], key.kid),
        "unnamed": _sign_badly(pen, key, strangers[algorithm], None),
        "none": [assemble({"alg": word, "kid": key.kid}, pen.claims(), b"") for word in _NONES],
        "hmac": [_hmac_token(pen, key, secret) for secret in _public_forms(key)],
        "algorithm": [pen.sign(other, {"kid": key.kid}) for name, other in strangers.items() if name != algorithm],
        "expired": [pen.sign(key, changed={"iat": now - 2 * LIFETIME_S, "exp": now - LIFETIME_S})],
        "early": [pen.sign(key, changed={"nbf": now + LIFETIME_S, "exp": now + 2 * LIFETIME_S})],
        "issuer": [
            pen.sign(key, changed={"iss": f"{pen.issuer}.example"}),
            pen.sign(key, changed={"iss": "https://stranger.invalid"}),
        ],
        "audience": [pen.sign(key, changed={"aud": f"{AUDIENCE}-other"}), pen.sign(key, changed={"aud": ["stranger"]})],
        "key": _with_own_key(pen, key, strangers[algorithm], url),
        "size": [pen.sign(strangers[algorithm], {"kid": key.kid}, {"filler": "x" * _LARGE_BYTES})],
    }.items():
        for token in tokens:
            yield f"forged {name} {algorithm}", token


def _sign_badly(pen: _Pen, key: SigningKey, stranger: SigningKey, kid: str | None) -> list[str]:
    """By a stranger, of claims that were changed afterwards, not to the end, and not at all; ``kid`` None: unnamed."""
    head, _, signature = pen.sign(key, {"kid": kid}).split(".")
    _, other_claims, _ = pen.sign(key, changed={"sub": "admin"}).split(".")
    signed = f"{head}.{other_claims}."
    return [pen.sign(stranger, {"kid": kid}), signed + signature, signed, pen.sign(key, {"kid": kid})[:-20]]


def _change_accepted_token(pen: _Pen, token: str, key: SigningKey, stranger: SigningKey) -> list[str]:
    """A token that was accepted with a signature of a stranger, with none, and its signature under other claims."""
    signed, _, signature = token.rpartition(".")
    head, _, _ = signed.partition(".")
    _, other_claims, _ = pen.sign(key, changed={"sub": "admin"}).split(".")
    return [f"{signed}.{pen.sign(stranger).rpartition('.')[2]}", f"{signed}.", f"{head}.{other_claims}.{signature}"]


def _hmac_token(pen: _Pen, key: SigningKey, secret: bytes) -> str:
    head, payload, _ = assemble({"alg": "HS256", "kid": key.kid, "typ": "JWT"}, pen.claims(), b"").split(".")
    code = hmac.new(secret, f"{head}.{payload}".encode(), hashlib.sha256).digest()
    return f"{head}.{payload}.{base64.urlsafe_b64encode(code).rstrip(b'=').decode()}"


def _public_forms(key: SigningKey) -> list[bytes]:
    """What a careless verifier may take for a shared secret."""
    public = key.as_dict(private=False)
    return [key.as_pem(private=False), key.as_pem(private=False).strip(), key.as_der(private=False), _json(public)]


def _with_own_key(pen: _Pen, key: SigningKey, stranger: SigningKey, url: str) -> list[str]:
    """Signed by a stranger, whose key comes with the token or lies where the token points to."""
    brought = {"jwk": stranger.as_dict(private=False), "jku": f"{url}/jwks.json", "x5u": f"{url}/{algorithm_of(key)}"}
    named = [pen.sign(stranger, {"kid": key.kid, name: value}) for name, value in brought.items()]
    return [*named, *(pen.sign(stranger, {name: value}) for name, value in brought.items())]


def _break_form(pen: _Pen, key: SigningKey) -> list[str]:
    """What is no token, or names no key."""
    algorithm = algorithm_of(key)
    kids: list[Any] = [
        7,
        None,
        [str(key.kid)],
        {"kid": key.kid},
        "",
        "\x00",
        "../../etc/passwd",
        "' OR 1=1 --",
        "k" * 5000,
    ]
    headers: list[Any] = [{"alg": algorithm, "kid": kid} for kid in kids]
    headers += [
        {"kid": key.kid},
        {"alg": 5, "kid": key.kid},
        {"alg": None, "kid": key.kid},
        [],
        1,
        None,
    ]
    whole = pen.sign(key)
    cut = ["x", "..", "...", whole.rpartition(".")[0], f"{whole}.{whole}", f"{whole[:20]}!{whole[20:]}"]
    return [*(assemble(header, pen.claims(), b"0" * 64) for header in headers), assemble(headers[0], [1], b""), *cut]


def _key_set(keys: Mapping[str, SigningKey]) -> bytes:
    return _json({"keys": [key.as_dict(private=False) for key in keys.values()]})


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _certificates(keys: Mapping[str, SigningKey]) -> dict[str, bytes]:
    """Each key's own certificate, by the path where it is served."""
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stranger")]), datetime.now(UTC)
    made = {}
    for algorithm, key in keys.items():
        builder = x509.CertificateBuilder(name, name, serial_number=x509.random_serial_number())
        private: Any = serialization.load_der_private_key(key.as_der(private=True), None)
        builder = (
            builder.public_key(private.public_key()).not_valid_before(now).not_valid_after(now + timedelta(days=1))
        )
        signed = builder.sign(private, None if algorithm in EDWARDS else hashes.SHA256())
        made[f"/{algorithm}"] = signed.public_bytes(serialization.Encoding.PEM)
    return made


@contextmanager
def _serve(pages: Mapping[str, bytes]) -> Iterator[str]:
    """Serve pages on loopback; the base URL."""

    class ForgersPages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), ForgersPages) as server:
        thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
