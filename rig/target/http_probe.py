"""One HTTP probe: a GET, or a request as given, to one endpoint, and the response.

For readiness, health and single events. An answer is read by the same rules as under load (``rig.target.http_answer``).
It follows no proxy and no redirect and never retries, so that no setting of the environment sends a request to another
machine. Not for load (``rig.engine``).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.limits import PROBE_BYTES_MOST
from rig.target.endpoint import Endpoint
from rig.target.http_answer import AnswerParser, BrokenRule, TooLarge
from rig.text import one_line

_PIECE_BYTES = 1 << 16
_PLAIN_AT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """The response to a probe: ``status`` 0 and a ``problem`` where no whole response came in time.

    ``said`` is the beginning of ``body`` as text, on one line and without control characters. Where the response is
    longer than 1 MiB, ``body`` is only its beginning and ``problem`` says so. The names of ``headers`` are in small
    letters.
    """

    status: int
    said: str = ""
    problem: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    untrusted: bool = False
    """Whether no connection was made because the certificate of the target, or that of the rig, was not accepted."""

    @property
    def date(self) -> str:
        """The Date header, where there was one."""
        return self.headers.get("date", "")

    @property
    def is_good(self) -> bool:
        """Whether it is the answer of a health path: any 2xx."""
        return 200 <= self.status < 300


class _Answer(AnswerParser):
    """Keeps head and body of one answer."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.start_stream()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.headers.clear()  # what an interim answer said

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.setdefault(name.decode("latin-1").lower(), one_line(value.decode("latin-1").strip()))

    def on_body(self, data: bytes) -> None:
        self.body += data

    @property
    def is_long(self) -> bool:
        return len(self.body) > PROBE_BYTES_MOST


class HttpProbe:
    """Probes one endpoint; ``timeout_s`` holds for each probe. ConfigError when a certificate cannot be read."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._tls = endpoint.tls_context()

    def get(self, path: str) -> ProbeResponse:
        """GET a path below the endpoint's base path, over a connection of its own."""
        head = f"GET {self._endpoint.base_path}{path} HTTP/1.1\r\nHost: {self._endpoint.host_header}\r\n"
        return self.send(f"{head}Accept: */*\r\nUser-Agent: rig\r\nConnection: close\r\n\r\n".encode())

    def send(self, request: bytes) -> ProbeResponse:
        """Send one whole request (head and body) as given, over a connection of its own."""
        answer, deadline_s = _Answer(), time.monotonic() + self._timeout_s
        try:
            with self._endpoint.connect(self._timeout_s, self._tls) as connection:
                connection.sendall(request)
                problem = _read(connection, answer, deadline_s)
        except (OSError, BrokenRule, TooLarge) as error:
            return _failure(error)
        if problem:
            return ProbeResponse(0, problem=problem)
        body = bytes(answer.body[:PROBE_BYTES_MOST])
        said = one_line(body[:300].decode(errors="replace").strip())
        problem = f"the answer is longer than {PROBE_BYTES_MOST >> 20} MiB" if answer.is_long else ""
        return ProbeResponse(answer.status, said, problem, body, dict(answer.headers))

    def connect(self) -> ProbeResponse:
        """Only connect, for a target without a path to probe: status 200 when a connection was made."""
        try:
            with self._endpoint.connect(self._timeout_s, self._tls):
                return ProbeResponse(200, "a connection was made")
        except OSError as error:
            return _failure(error)


def _read(connection: socket.socket, answer: _Answer, deadline_s: float) -> str:
    """Read the answer, or the beginning of a long one; what is wrong where none came, else an empty text."""
    got = 0
    while not answer.is_long:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left_s)
        try:
            data = connection.recv(_PIECE_BYTES)
        except ssl.SSLEOFError:  # some servers leave without a word
            data = b""
        if not data:
            if answer.ends_with_stream():
                return ""
            return (
                f"the connection was closed within the answer, after {got} bytes"
                if got
                else ("the connection was closed without an answer")
            )
        got += len(data)
        if answer.feed(data):
            return ""
    answer.status = answer.begun_status
    return ""


def _failure(error: Exception) -> ProbeResponse:
    """Why no answer came, in words."""
    said = one_line(error) or type(error).__name__
    if isinstance(error, ssl.SSLError):
        if error.reason in _PLAIN_AT_TLS:
            said = f"it speaks no TLS at this port: write http:// in the address ({error.reason})"
        elif isinstance(error, ssl.SSLCertVerificationError):
            return ProbeResponse(0, problem=f"its certificate is not trusted: {error.verify_message}", untrusted=True)
        elif "ALERT" in (error.reason or "") and "CERTIFICATE" in (error.reason or ""):
            said = f"it does not accept the rig's certificate ({error.reason}): see target.client_cert"
            return ProbeResponse(0, problem=said, untrusted=True)
        elif isinstance(error, ssl.SSLEOFError):
            said = f"it ended the connection; if it asks for a certificate, give target.client_cert ({error.reason})"
    return ProbeResponse(0, problem=said)
