"""One HTTP probe: a GET, or a request as given, to one endpoint, and the response.

For readiness, health and single events. It follows no proxy and no redirect and never retries, so that no setting of
the environment sends a request to another machine. Not for load (``rig.engine``).
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass

from rig.target.endpoint import Endpoint

_BODY_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """The response to a probe: ``status`` 0 and a ``problem`` where no whole response came in time.

    ``said`` is the beginning of ``body`` as text. Where the response is longer than 1 MiB, ``body`` is only its
    beginning and ``problem`` says so.
    """

    status: int
    said: str = ""
    problem: str = ""
    body: bytes = b""
    date: str = ""
    """The Date header, where there was one."""


class HttpProbe:
    """Probes one endpoint; ``timeout_s`` holds for each step. ConfigError when the CA file cannot be read."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._tls = endpoint.tls_context()

    def get(self, path: str) -> ProbeResponse:
        """GET a path below the endpoint's base path, over a connection of its own."""

        def request_page(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
            connection.request("GET", self._endpoint.base_path + path, headers={"Connection": "close"})
            return connection.getresponse()

        return self._read_response(request_page)

    def send(self, request: bytes) -> ProbeResponse:
        """Send one whole POST (head and body) as given, over a connection of its own."""

        def send_whole(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
            connection.sock.sendall(request)
            answer = http.client.HTTPResponse(connection.sock, method="POST")
            answer.begin()
            return answer

        return self._read_response(send_whole)

    def _read_response(self, send: Callable[[http.client.HTTPConnection], http.client.HTTPResponse]) -> ProbeResponse:
        connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port)
        try:
            connection.sock = self._endpoint.connect(self._timeout_s, self._tls)  # connect() would resolve again
            answer = send(connection)
            said = answer.read(_BODY_LIMIT_BYTES + 1)
            if len(said) <= _BODY_LIMIT_BYTES and answer.length:  # read(n) does not complain about fewer bytes
                raise http.client.IncompleteRead(said, answer.length)
        except (OSError, http.client.HTTPException) as error:
            return ProbeResponse(0, problem=str(error) or type(error).__name__)
        finally:
            connection.close()
        body, text = said[:_BODY_LIMIT_BYTES], said[:300].decode(errors="replace").strip()
        problem = f"the answer is longer than {_BODY_LIMIT_BYTES >> 20} MiB" if len(said) > len(body) else ""
        return ProbeResponse(answer.status, text, problem, body, answer.getheader("Date") or "")

    def connect(self) -> ProbeResponse:
        """Only connect, for a target without a path to probe: status 200 when a connection was made."""
        try:
            with self._endpoint.connect(self._timeout_s):
                return ProbeResponse(200, "a connection was made")
        except OSError as error:
            return ProbeResponse(0, problem=str(error) or type(error).__name__)
