"""Opens and closes the transports of connections: everything about them that is not timed.

Not for: deciding when a connection is opened again, or what its failure means (``rig.engine.executor``).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Iterable

from rig.engine.connection import Connection
from rig.target.endpoint import Endpoint

CLOSE_S = 1.0
"""Time for connections to close properly at the end of a run, before they are cut."""
_CLOSE_POLL_S = 0.001
_OWN_FAULTS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})


class Dialer:
    """Dials one endpoint; ConfigError where its certificates cannot be read."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._tls = endpoint.tls_context()
        self.dialled = 0
        """Attempts so far."""

    async def dial(self, connection: Connection) -> bool:
        """Open a transport; False when the target gives none, or closes it at once. The rig's own faults are raised."""
        self.dialled += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                for place in self._endpoint.connect_to:
                    if await self._open(connection, place):
                        break
        except TimeoutError:
            return False
        return connection.reusable

    async def _open(self, connection: Connection, place: tuple[str, int]) -> bool:
        """Connect to one address; False when it refuses. Its certificate must be the host's, whatever the address."""
        name = self._endpoint.host if self._tls else None
        try:
            await self._loop.create_connection(lambda: connection, *place, ssl=self._tls, server_hostname=name)
        except TimeoutError:
            raise
        except OSError as error:  # ssl.SSLError among them
            if error.errno in _OWN_FAULTS:
                raise
            return False
        return True

    async def hang_up(self, connections: Iterable[Connection]) -> None:
        """Close connections and return when they are gone; those whose peer does not let go are cut."""
        open_ones = list(connections)
        for leave in (Connection.close, Connection.abort):
            for connection in open_ones:
                leave(connection)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    # An event for each connection would have to be kept on the timed path.
                    while open_ones := [each for each in open_ones if each.transport is not None]:  # noqa: ASYNC110
                        await asyncio.sleep(_CLOSE_POLL_S)
