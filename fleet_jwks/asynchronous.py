"""The verifier for a service with an event loop.

A token whose key is in memory is verified at once, in some tens of microseconds. What has to wait for keys does so in a
thread, and the loop goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fleet_jwks.errors import KeysUnavailable
from fleet_jwks.settings import JwksSettings
from fleet_jwks.verifier import Verifier

_THREADS = 16
"""So many tokens wait for keys at a time; once these have come, the others are decided from memory."""


class AsyncVerifier:
    """``await verify(token)``: the claims, or Refused or KeysUnavailable. Make one for each process, after any fork."""

    def __init__(self, verifier: Verifier, timeout_s: float) -> None:
        """``timeout_s``: how long a token may wait, also where many do."""
        self.verifier = verifier
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(_THREADS, "fleet-jwks")

    async def __call__(self, token: str) -> Mapping[str, Any]:
        claims = self.verifier.at_once(token)
        if claims is not None:
            return claims
        waiting = asyncio.get_running_loop().run_in_executor(self._threads, self.verifier, token)
        try:
            return await asyncio.wait_for(waiting, self._timeout_s)
        except TimeoutError:
            raise KeysUnavailable(f"no keys came within {self._timeout_s:g} s") from None

    def close(self) -> None:
        """Close the connection to the database. Who waits in a thread ends by its own bound."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.verifier.close()


def async_factory(environ: Mapping[str, str]) -> AsyncVerifier:
    """An asynchronous verifier from the variables that ``JwksSettings`` names; ValueError when one is wrong."""
    settings = JwksSettings.from_environ(environ)
    return AsyncVerifier(Verifier(settings), settings.wait_timeout_s + settings.fetch_timeout_s)
