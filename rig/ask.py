"""One question to the target: a GET, its status, what it said.

For readiness and probes. No proxy, no redirect, no retry: it asks whom it was told to ask and nobody else, so that
nothing leaves the machine by way of the environment. Not for load (``rig.engine``).
"""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass

from rig.engine.endpoint import Endpoint

_BODY_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a question: ``status`` 0 and a ``problem`` where no whole answer came within the time."""

    status: int
    said: str = ""
    problem: str = ""


class Asker:
    """Asks one endpoint; ``timeout_s`` holds for each step of an answer. ConfigError when its CA file is unreadable."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._tls = endpoint.tls_context()

    def get(self, path: str) -> Reply:
        """GET a path below the endpoint's base path, over a connection of its own."""
        connection = self._connection()
        try:
            connection.request("GET", self._endpoint.base_path + path, headers={"Connection": "close"})
            answer = connection.getresponse()
            said = answer.read(_BODY_LIMIT_BYTES)
        except (OSError, http.client.HTTPException) as error:
            return Reply(0, problem=str(error) or type(error).__name__)
        finally:
            connection.close()
        return Reply(answer.status, said[:300].decode(errors="replace").strip())

    def connect(self) -> Reply:
        """Only make a connection, for a target that names no path to ask: status 200 when one stands."""
        try:
            with socket.create_connection((self._endpoint.host, self._endpoint.port), self._timeout_s):
                return Reply(200, "a connection stands")
        except OSError as error:
            return Reply(0, problem=str(error) or type(error).__name__)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._endpoint.host, self._endpoint.port
        if isinstance(self._tls, ssl.SSLContext):
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
