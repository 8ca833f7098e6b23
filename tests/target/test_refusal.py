"""Why a target refuses an event that should be right: services that disagree with the profile, each about one thing."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hmac import digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest

from rig.model import RunKey
from rig.profile import Profile, parse_profile
from rig.requests.sender import Credentials
from rig.target.endpoint import Endpoint
from rig.target.refusal import Refusal, find_cause

SECRET = b"one secret of this test"
PROFILE = """
version = 1
name = "orders"
[target]
base_url = "http://127.0.0.1:1"
[headers]
tenant_key = "X-Api-Key"
[[routes]]
name = "main"
path = "/in"
scheme = "{scheme}"
signature_header = "X-Sign"
secret = "main"
{keys}
body = '''{body}'''
[truth.canonical]
table = "orders"
key = "id"
"""
BODY = '{"name": "Zoë/1", "id": "<key>", "share": 0.50, "amount": <amount>}'


@dataclass
class Service:
    """Answers 200 where ``check`` says that a request is right, else ``refusal``; it counts its requests."""

    check: Callable[[Mapping[str, str], bytes], bool]
    refusal: int = 401
    seen: int = 0


class Server(ThreadingHTTPServer):
    service: Service
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        service = cast(Server, self.server).service
        body = self.rfile.read(int(self.headers["Content-Length"]))
        service.seen += 1
        is_right = service.check(cast(Mapping[str, str], self.headers), body)
        self.send_response(200 if is_right else service.refusal)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok" if is_right else b"no")

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def hexed(body: bytes, secret: bytes = SECRET, hashed: str = "sha256") -> str:
    return digest(secret, body, hashed).hex()


def ask(server: Server, service: Service, keys: str = "", body: str = BODY, scheme: str = "hmac") -> Refusal:
    server.service = service
    profile: Profile = parse_profile(PROFILE.format(keys=keys, body=body, scheme=scheme), Path("rig.toml"))
    credentials = {"A": Credentials("key-of-a", {"main": SECRET.decode()}, "1")}
    endpoint = Endpoint.parse(f"http://127.0.0.1:{server.server_port}")
    run = RunKey(1, "refusal", int(time.time()))
    return find_cause(profile, run, endpoint, profile.route("main"), credentials)


def sign_over(change: Callable[[bytes], bytes]) -> Callable[[Mapping[str, str], bytes], bool]:
    return lambda headers, body: headers["X-Sign"] == hexed(change(body))


def write_anew(**how: Any) -> Callable[[bytes], bytes]:
    return lambda body: json.dumps(json.loads(body), **how).encode()


ANEW = "JSON that it reads and writes anew"
BODIES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "python": (write_anew(), ANEW),
    "sorted": (write_anew(sort_keys=True, ensure_ascii=False, separators=(",", ":")), ANEW),
    "escaped": (lambda body: write_anew(separators=(",", ":"))(body).replace(b"/", b"\\/"), ANEW),
    "whole numbers": (lambda body: body.replace(b"0.5,", b"0.50,"), ANEW),
    "latin-1": (lambda body: body.decode().encode("latin-1"), "text in another encoding"),
    "read as latin-1": (lambda body: body.decode("latin-1").encode(), "text in another encoding"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_changed_before_it_is_checked(server: Server, name: str) -> None:
    change, cause = BODIES[name]
    found = ask(server, Service(sign_over(change)))
    assert cause in found.cause
    assert "bytes of the body as they came" in found.cause
    assert found.writes == ()


def test_a_line_end_that_the_target_takes_off(server: Server) -> None:
    found = ask(server, Service(sign_over(bytes.strip)), keys='format = "text"', body="<key>;<amount>\n")
    assert "without the white space at its ends" in found.cause


def of_header(name: str, write: Callable[[bytes], str]) -> Callable[[Mapping[str, str], bytes], bool]:
    return lambda headers, body: headers.get(name) == write(body)


SIGNATURES: dict[str, tuple[Callable[[Mapping[str, str], bytes], bool], str, dict[str, Any]]] = {
    # what the target checks, the keys of the profile, what the profile must say
    "prefix": (of_header("X-Sign", lambda body: f"sha256={hexed(body)}"), "", {"signature_prefix": "sha256="}),
    "no prefix": (of_header("X-Sign", hexed), 'signature_prefix = "sha256="', {"signature_prefix": ""}),
    "base64": (
        of_header("X-Sign", lambda body: b64encode(digest(SECRET, body, "sha256")).decode()), "", {"encoding": "base64"}
    ),
    "hex": (of_header("X-Sign", hexed), 'encoding = "base64"', {"encoding": "hex"}),
    "hash": (
        of_header("X-Sign", lambda body: hexed(body, hashed="sha1")), 'algorithm = "sha512"', {"algorithm": "sha1"}
    ),
    "prefix of a hash": (
        of_header("X-Sign", lambda body: f"sha1={hexed(body, hashed='sha1')}"),
        'signature_prefix = "sha256="',
        {"signature_prefix": "sha1=", "algorithm": "sha1"},
    ),
    "header": (of_header("X-Webhook-Signature", hexed), "", {"signature_header": "X-Webhook-Signature"}),
    "sender": (
        of_header("X-Hub-Signature-256", lambda body: f"sha256={hexed(body)}"),
        "",
        {"signature_header": "X-Hub-Signature-256", "signature": "sha256=<signature>"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_that_is_written_otherwise(server: Server, name: str) -> None:
    check, keys, wanted = SIGNATURES[name]
    found = ask(server, Service(check), keys=keys)
    (write,) = found.writes
    assert write.table == ("routes", 0)
    assert wanted.items() <= dict(write.values).items()
    assert all(str(value) in found.cause for value in wanted.values())


def test_a_token_with_a_word_before_it(server: Server) -> None:
    check = of_header("X-Sign", lambda _: f"Bearer {SECRET.decode()}")
    found = ask(server, Service(check), scheme="token")
    assert found.cause == "write signature_prefix = \"Bearer \" in route 'main'"


@pytest.mark.parametrize("ahead_s", [4000, -4000])
def test_a_clock_that_is_wrong(server: Server, ahead_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(headers: Mapping[str, str], body: bytes) -> bool:
        is_timely = abs(int(headers["X-Time"]) - (time.time() + ahead_s)) < 300
        return is_timely and headers["X-Sign"] == hexed(headers["X-Time"].encode() + b"." + body)

    monkeypatch.setattr(Handler, "date_time_string", lambda *_: _date(time.time() + ahead_s))
    found = ask(server, Service(check), 'signed = "<unix>.<body>"\ntimestamp_header = "X-Time"')
    said = re.fullmatch(r"its clock is (\d+) s (ahead of|behind) this machine's: set the clocks alike", found.cause)
    assert said is not None
    # The Date header has whole seconds, and the answer took a while.
    assert abs(int(said[1]) - abs(ahead_s)) < 100
    assert said[2] == ("ahead of" if ahead_s > 0 else "behind")
    assert found.writes == ()


def test_a_time_in_milliseconds(server: Server) -> None:
    def check(headers: Mapping[str, str], body: bytes) -> bool:
        is_timely = abs(int(headers["X-Time"]) - time.time() * 1000) < 300_000
        return is_timely and headers["X-Sign"] == hexed(headers["X-Time"].encode() + b"." + body)

    found = ask(server, Service(check), 'signed = "<unix>.<body>"\ntimestamp_header = "X-Time"')
    (write,) = found.writes
    assert write.values == {
        "signed": "<unix_ms>.<body>", "headers": {"X-Time": "<unix_ms>"}, "timestamp_header": None,
    }  # fmt: skip


def test_a_secret_with_a_line_end(server: Server) -> None:
    found = ask(server, Service(lambda headers, body: headers["X-Sign"] == hexed(body, SECRET + b"\n")))
    assert "with a line end after it" in found.cause


def test_an_api_key_with_a_word_before_it(server: Server) -> None:
    def check(headers: Mapping[str, str], body: bytes) -> bool:
        return headers["X-Api-Key"] == "Bearer key-of-a" and headers["X-Sign"] == hexed(body)

    assert 'tenant_key_prefix = "Bearer " into [headers]' in ask(server, Service(check)).cause


@pytest.mark.parametrize("status", [401, 422])
def test_another_secret_has_no_cause_that_can_be_found(server: Server, status: int) -> None:
    service = Service(lambda headers, body: headers["X-Sign"] == hexed(body, b"another"), status)
    found = ask(server, service)
    assert (found.cause, found.status, found.said) == ("", status, "no")
    assert "check that the target has the same secret" in found.remedy
    assert 30 < found.asked == service.seen < 150


def test_a_target_that_lets_everything_else_in_proves_nothing(server: Server) -> None:
    own = "name"  # it refuses each body of the profile, and checks no signature
    found = ask(server, Service(lambda headers, body: "Zo\u00eb".encode() not in body and own.encode() in body))
    assert found.cause == ""


def test_another_answer_than_a_refusal_is_not_asked_about(server: Server) -> None:
    service = Service(lambda headers, body: False, 500)
    assert ask(server, service).asked == 0
    assert service.seen == 1


def _date(unix: float) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(unix))
