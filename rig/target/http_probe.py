"""One question to the target: a GET or a request as it stands, its status, what it said.

For readiness, probes and single events. No proxy, no redirect, no retry: it asks whom it was told to ask and nobody
else, so that nothing leaves the machine by way of the environment. Not for load (``rig.engine``).
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass

from rig.target.endpoint import Endpoint

_BODY_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """What came of a question: ``status`` 0 and a ``problem`` where no whole answer came within the time.

    ``said`` is how the ``body`` begins, as text. Of an answer longer than 1 MiB ``body`` is the beginning only: it has
    its status, and a ``problem`` that says so.
    """

    status: int
    said: str = ""
    problem: str = ""
    body: bytes = b""
    date: str = ""
    """The Date header, where there was one."""


class HttpProbe:
    """Asks one endpoint; ``timeout_s`` holds for each step of an answer. ConfigError when its CA file is unreadable."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._tls = endpoint.tls_context()

    def get(self, path: str) -> ProbeResponse:
        """GET a path below the endpoint's base path, over a connection of its own."""

        def ask(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
            connection.request("GET", self._endpoint.base_path + path, headers={"Connection": "close"})
            return connection.getresponse()

        return self._read_response(ask)

    def send(self, request: bytes) -> ProbeResponse:
        """One whole POST (head and body) as it stands, over a connection of its own."""

        def ask(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
            connection.sock.sendall(request)
            answer = http.client.HTTPResponse(connection.sock, method="POST")
            answer.begin()
            return answer

        return self._read_response(ask)

    def _read_response(self, ask: Callable[[http.client.HTTPConnection], http.client.HTTPResponse]) -> ProbeResponse:
        connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port)
        try:
            connection.sock = self._endpoint.connect(self._timeout_s, self._tls)  # it would resolve the name again
            answer = ask(connection)
            said = answer.read(_BODY_LIMIT_BYTES + 1)
            if len(said) <= _BODY_LIMIT_BYTES and answer.length:  # read() of so many bytes takes fewer for an end
                raise http.client.IncompleteRead(said, answer.length)
        except (OSError, http.client.HTTPException) as error:
            return ProbeResponse(0, problem=str(error) or type(error).__name__)
        finally:
            connection.close()
        body, text = said[:_BODY_LIMIT_BYTES], said[:300].decode(errors="replace").strip()
        problem = f"the answer is longer than {_BODY_LIMIT_BYTES >> 20} MiB" if len(said) > len(body) else ""
        return ProbeResponse(answer.status, text, problem, body, answer.getheader("Date") or "")

    def connect(self) -> ProbeResponse:
        """Only make a connection, for a target that names no path to ask: status 200 when one stands."""
        try:
            with self._endpoint.connect(self._timeout_s):
                return ProbeResponse(200, "a connection stands")
        except OSError as error:
            return ProbeResponse(0, problem=str(error) or type(error).__name__)
