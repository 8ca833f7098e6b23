"""An independent count for the scoreboard of verifiers: ``python verifiers.py DSN [SUBJECT …]``.

It shares no code with the rig: keys, tokens, origin, processes and questions are its own. Four processes of each
subject answer over HTTP. The origin takes 0.2 s for an answer and notes every fetch. ``DSN`` names a PostgreSQL server
for fleet_jwks, as a role that may create databases. ``python verifiers.py serve LIBRARY PORT`` is one process of a
subject in Python; those on Node are ``subjects/verify.mjs``. The environments are those that the scoreboard made.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / ".environments"
ISSUER, AUDIENCE, PROCESSES = "https://counted.example", "counted", 4
SUBJECTS = {
    "fleet_jwks": "",
    "pyjwt-2.8": "pyjwt",
    "pyjwt-2.12": "pyjwt",
    "pyjwt-newest": "pyjwt",
    "pyjwt-key-fetcher": "pyjwt_key_fetcher",
    "authlib": "authlib",
    "joserfc": "joserfc",
    "jwcrypto": "jwcrypto",
    "python-jose": "python_jose",
    "node-jose": "node jose",
    "node-jwks-rsa": "node jwks-rsa",
}


# --- one process of a subject in Python, in the subject's own environment ---------------------------------------


def key_set() -> dict:
    with urllib.request.urlopen(os.environ["JWKS_URL"], timeout=3) as answer:
        return json.load(answer)


def algorithms() -> list[str]:
    return os.environ["JWKS_ALGORITHMS"].split(",")


def fleet_jwks():
    import fleet_jwks

    return fleet_jwks.factory(os.environ)


def pyjwt():
    import inspect

    import jwt

    has_cool_down = "cooldown_duration" in inspect.signature(jwt.PyJWKClient).parameters
    options = {"cooldown_duration": float(os.environ["JWKS_COOL_DOWN_S"])} if has_cool_down else {}
    client = jwt.PyJWKClient(os.environ["JWKS_URL"], lifespan=float(os.environ["JWKS_TTL_S"]), **options)
    return lambda token: jwt.decode(
        token, client.get_signing_key_from_jwt(token).key, algorithms=algorithms(), audience=AUDIENCE, issuer=ISSUER
    )


def pyjwt_key_fetcher():
    import asyncio

    import jwt
    from pyjwt_key_fetcher import AsyncKeyFetcher
    from pyjwt_key_fetcher.http_client import HTTPClient

    class Client(HTTPClient):
        async def get_json(self, url: str) -> dict:
            if url.endswith("openid-configuration"):
                return {"issuer": ISSUER, "jwks_uri": os.environ["JWKS_URL"]}
            return await asyncio.to_thread(key_set)

    fetcher = AsyncKeyFetcher(valid_issuers=[ISSUER], http_client=Client())
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def verify(token: str):
        entry = asyncio.run_coroutine_threadsafe(fetcher.get_key(token), loop).result()
        return jwt.decode(token, **entry, audience=AUDIENCE, issuer=ISSUER)

    return verify


def authlib():
    from authlib.integrations.base_client.sync_openid import OpenIDMixin

    class Session:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def request(self, method, url, **_):
            return self

        def raise_for_status(self):
            pass

        def json(self):
            return key_set()

    class Client(OpenIDMixin):
        client_id = AUDIENCE

        def __init__(self):
            self.server_metadata = {
                "issuer": ISSUER,
                "jwks_uri": os.environ["JWKS_URL"],
                "id_token_signing_alg_values_supported": algorithms(),
            }

        def load_server_metadata(self):
            return self.server_metadata

        def _get_session(self):
            return Session()

    client = Client()
    return lambda token: client.parse_id_token({"id_token": token, "access_token": "-"}, nonce=None)


def joserfc():
    from joserfc import jwt
    from joserfc.jwk import KeySet

    keys = KeySet.import_key_set(key_set())
    rules = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE}, exp={"essential": True}
    )
    return lambda token: rules.validate(jwt.decode(token, keys, algorithms=algorithms()).claims)


def jwcrypto():
    from jwcrypto import jwk, jwt

    keys = jwk.JWKSet.from_json(json.dumps(key_set()))
    wanted = {"iss": ISSUER, "aud": AUDIENCE, "exp": None}
    return lambda token: jwt.JWT(jwt=token, key=keys, algs=algorithms(), check_claims=wanted)


def python_jose():
    from jose import jwt

    keys = {key["kid"]: key for key in key_set()["keys"]}
    return lambda token: jwt.decode(
        token, keys[jwt.get_unverified_header(token)["kid"]], algorithms=algorithms(), audience=AUDIENCE, issuer=ISSUER
    )


def serve(library: str, port: int) -> None:
    """GET with a bearer token: 200 or 401."""
    verify = globals()[library]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            try:
                verify((self.headers["Authorization"] or "").removeprefix("Bearer "))
                status = 200
            except Exception:
                status = 401
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


# --- keys and tokens ---------------------------------------------------------------------------------------------


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    return b64(value.to_bytes(size, "big"))


class Keys:
    """One key of each algorithm: the set that the origin serves, and tokens."""

    def __init__(self, wanted: list[str]) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        made = {
            "RS256": rsa.generate_private_key(65537, 2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }
        self.private = {name: made[name] for name in wanted}
        self.kids = {name: f"{name}-{secrets.token_hex(4)}" for name in wanted}

    def document(self) -> dict:
        return {"keys": [self.public(name) for name in self.private]}

    def public(self, name: str) -> dict:
        key = self.private[name].public_key()
        if name == "EdDSA":
            parts = {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_bytes_raw())}
        elif name == "ES256":
            n = key.public_numbers()
            parts = {"kty": "EC", "crv": "P-256", "x": number(n.x, 32), "y": number(n.y, 32)}
        else:
            n = key.public_numbers()
            parts = {"kty": "RSA", "n": number(n.n, 256), "e": number(n.e, 3)}
        return {**parts, "kid": self.kids[name], "alg": name, "use": "sig"}

    def sign(self, name: str, data: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

        key = self.private[name]
        if name == "EdDSA":
            return key.sign(data)
        if name == "RS256":
            return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def token(self, name: str, head: dict | None = None, **claims: object) -> str:
        now = int(time.time())
        header = {"alg": name, "kid": self.kids[name], "typ": "JWT", **(head or {})}
        body = {"iss": ISSUER, "aud": AUDIENCE, "sub": "me", "iat": now, "exp": now + 3600, **claims}
        signed = ".".join(b64(json.dumps(part).encode()) for part in (header, body))
        return f"{signed}.{b64(self.sign(name, signed.encode()))}"

    def unknown(self) -> str:
        return self.token(secrets.choice(list(self.private)), {"kid": secrets.token_hex(8)})


def forge(keys: Keys, strangers: Keys) -> dict[str, list[str]]:
    """Bad tokens by kind; each must be refused."""
    import hashlib
    import hmac

    now, found = int(time.time()), {}

    def add(kind: str, *tokens: str) -> None:
        found.setdefault(kind, []).extend(tokens)

    for name in keys.private:
        kid = {"kid": keys.kids[name]}
        head, _, signature = keys.token(name).split(".")
        add(
            "signature", strangers.token(name, kid), f"{head}.{keys.token(name, sub='admin').split('.')[1]}.{signature}"
        )
        add("none", ".".join([b64(json.dumps({"alg": "none", **kid}).encode()), keys.token(name).split(".")[1], ""]))
        text = f"{b64(json.dumps({'alg': 'HS256', **kid}).encode())}.{keys.token(name).split('.')[1]}"
        secret = json.dumps(keys.public(name)).encode()
        add("hmac", f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}")
        add("algorithm", *(strangers.token(other, kid) for other in strangers.private if other != name))
        add("expired", keys.token(name, iat=now - 7200, exp=now - 3600))
        add("early", keys.token(name, nbf=now + 3600, exp=now + 7200))
        add("issuer", keys.token(name, iss="https://other.example"))
        add("audience", keys.token(name, aud="other"))
        add("key", strangers.token(name, {**kid, "jwk": strangers.public(name)}))
        add("size", strangers.token(name, kid, filler="x" * 50_000))
    add("form", "x", "..", "a.b.c", f"{b64(b'{}')}.{b64(b'{}')}.", f"{b64(b'[]')}.{b64(b'{}')}.{b64(b'0')}")
    return found


# --- the origin --------------------------------------------------------------------------------------------------


class Origin:
    """Serves a key set after 0.2 s, or fails, and notes the start of every fetch."""

    def __init__(self, document: dict) -> None:
        self.fetches: list[float] = []
        self.fails = False
        self.document = document
        origin = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                origin.fetches.append(time.monotonic())
                time.sleep(0.05 if origin.fails else 0.2)
                body = b"{}" if origin.fails else json.dumps(origin.document).encode()
                self.send_response(503 if origin.fails else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


# --- four processes and the questions ----------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Fleet:
    """Four processes of a subject, for as long as the block."""

    def __init__(self, subject: str, url: str, dsn: str, wanted: list[str], cool_down_s: float, ttl_s: int) -> None:
        library, folder = SUBJECTS[subject], ENVIRONMENTS / subject.replace("_", "-")
        environ = {
            **os.environ,
            "JWKS_URL": url,
            "JWKS_ISSUER": ISSUER,
            "JWKS_AUDIENCE": AUDIENCE,
            "JWKS_ALGORITHMS": ",".join(wanted),
            "JWKS_COOL_DOWN_S": f"{cool_down_s:g}",
            "JWKS_TTL_S": str(ttl_s),
            "JWKS_FETCH_TIMEOUT_S": "3",
            "DATABASE_URL": dsn,
        }
        self.ports, self.processes = [free_port() for _ in range(PROCESSES)], []
        for port in self.ports:
            if library.startswith("node"):
                program, name = HERE.parent / "subjects" / "verify.mjs", library.split()[1]
                command = ["node", str(program), name, str(port)]
            else:
                python = str(folder / "bin" / "python") if library else sys.executable
                command = [python, __file__, "serve", library or "fleet_jwks", str(port)]
            where = folder if library.startswith("node") else HERE
            self.processes.append(subprocess.Popen(command, env=environ, cwd=where, stderr=subprocess.DEVNULL))
        for port in self.ports:
            until = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.02)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.processes:
            one.kill()
            one.wait()

    def ask(self, *streams: list[str] | tuple[list[str], float, float]) -> list[Counter]:
        """Every process gets every stream, all at once; the statuses of each stream. ``(tokens, pace, for)``: again
        and again, one in ``pace`` seconds."""
        answers = [Counter() for _ in streams]
        gate = threading.Barrier(PROCESSES * len(streams))

        def run(port: int, place: int) -> None:
            stream = streams[place]
            tokens, pace_s, for_s = stream if isinstance(stream, tuple) else (stream, 0.0, 0.0)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            gate.wait()
            until, turn = time.monotonic() + for_s, 0
            while turn < len(tokens) or time.monotonic() < until:
                try:
                    connection.request("GET", "/", headers={"Authorization": f"Bearer {tokens[turn % len(tokens)]}"})
                    answer = connection.getresponse()
                    answer.read()
                    answers[place][answer.status] += 1
                except (OSError, http.client.HTTPException):
                    connection.close()
                    answers[place]["closed"] += 1
                turn += 1
                time.sleep(pace_s)
                if for_s and time.monotonic() >= until:
                    return

        threads = [
            threading.Thread(target=run, args=(port, place)) for port in self.ports for place in range(len(streams))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers


def count(subject: str, dsn: str) -> dict[str, object]:
    """The figures of one subject."""
    wanted = ["RS256", "ES256"] if subject in ("python-jose", "node-jwks-rsa") else ["RS256", "ES256", "EdDSA"]
    keys, strangers = Keys(wanted), Keys(["RS256", "ES256", "EdDSA"])
    known = [keys.token(name) for name in wanted]
    fetches_itself = subject not in ("joserfc", "jwcrypto", "python-jose")
    found: dict[str, object] = {}

    def bad() -> list[str]:
        return [*(keys.unknown() for _ in range(19)), strangers.token("RS256", {"kid": keys.kids["RS256"]})]

    def fleet(origin: Origin, cool_down_s: float, ttl_s: int = 300) -> Fleet:
        own = fresh_database(dsn) if subject == "fleet_jwks" else ""
        return Fleet(subject, origin.url, own, wanted, cool_down_s, ttl_s)

    if fetches_itself and subject != "pyjwt-key-fetcher":
        origin = Origin(keys.document())
        with fleet(origin, 2.5) as processes:
            processes.ask(known[:1])
            time.sleep(2.8)
            refused, served = processes.ask(bad(), (known, 0.01, 1.0))
            found["random: fetches"] = len(origin.fetches)
            found["random: bad accepted"] = f"{refused[200]} of {refused.total()}"
            found["random: known refused"] = f"{served.total() - served[200]} of {served.total()}"
        origin = Origin(keys.document())
        with fleet(origin, 0.1) as processes:
            processes.ask(known[:1])
            time.sleep(0.5)
            before, origin.fails = len(origin.fetches), True
            _, served = processes.ask(([keys.unknown() for _ in range(400)], 0.02, 4.0), (known, 0.02, 4.0))
            found["outage: fetches in 4 s"] = len(origin.fetches) - before
            found["outage: known refused"] = f"{served.total() - served[200]} of {served.total()}"
        origin = Origin(keys.document())
        with fleet(origin, 0.3, ttl_s=1) as processes:
            found |= count_remembered(processes, origin, keys, wanted[0])
    if fetches_itself:
        origin = Origin(keys.document())
        with fleet(origin, 2.5) as processes:
            served, refused = processes.ask(known[:1] * 20, bad())
            found["cold: fetches"] = len(origin.fetches)
            found["cold: known refused"] = f"{served.total() - served[200]} of {served.total()}"
            end = int(time.time()) + 3
            seen, new = (keys.token(wanted[0], exp=end, sub=name) for name in ("seen", "new"))
            before = processes.ask([seen] * 20)[0]
            time.sleep(end + 1.1 - time.time())
            unknown, remembered = processes.ask([new] * 20)[0], processes.ask([seen] * 20)[0]
            found["lapsed: accepted before; after: new, seen"] = f"{before[200]}; {unknown[200]}, {remembered[200]}"
    forged = forge(keys, strangers)
    with fleet(Origin(keys.document()), 0.2) as processes:
        processes.ask(known[:1])
        answers = {kind: processes.ask(tokens)[0] for kind, tokens in forged.items()}
        found["forged: asked"] = sum(one.total() for one in answers.values())
        found["forged: accepted"] = {kind: one[200] for kind, one in answers.items() if one[200]}
        found["forged: known refused"] = PROCESSES * len(known) - processes.ask(known)[0][200]
    return found


def count_remembered(processes: Fleet, origin: Origin, keys: Keys, name: str) -> dict[str, object]:
    """What is accepted of a key that left the set more than its time to live ago, and of a token whose time is over."""
    remaining, leaving = origin.document, Keys([name])
    gone = leaving.token(name)
    origin.document = {"keys": [*remaining["keys"], *leaving.document()["keys"]]}
    before = processes.ask([gone] * 20)[0]
    origin.document = remaining
    processes.ask(([keys.token(name)], 0.05, 3.0))
    after = processes.ask([gone] * 20)[0]
    found: dict[str, object] = {"withdrawn: accepted before, after": f"{before[200]}, {after[200]} of {after.total()}"}
    end = int(time.time()) + 3
    seen, new = (keys.token(name, exp=end, sub=sub) for sub in ("seen", "new"))
    before = processes.ask([seen] * 20)[0]
    time.sleep(end + 1.1 - time.time())
    unknown, remembered = processes.ask([new] * 20)[0], processes.ask([seen] * 20)[0]
    found["lapsed: accepted before; after: new, seen"] = f"{before[200]}; {unknown[200]}, {remembered[200]}"
    return found


def fresh_database(dsn: str) -> str:
    """A database of its own with the tables of fleet_jwks."""
    import psycopg
    from psycopg.conninfo import make_conninfo

    name = f"count_{secrets.token_hex(4)}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    own = make_conninfo(dsn, dbname=name)
    environ = {**os.environ, "MIGRATION_DATABASE_URL": own, "DATABASE_URL": own}
    subprocess.run([sys.executable, "-m", "fleet_jwks"], env=environ, check=True)
    return own


def main() -> None:
    """Count, or be a process of a subject."""
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
        return
    dsn, *subjects = sys.argv[1:]
    for subject in subjects or SUBJECTS:
        print(json.dumps({"subject": subject, **count(subject, dsn)}), flush=True)


if __name__ == "__main__":
    main()
