"""A TCP relay that delays every byte: a network where queueing disciplines are not to be had.

``python relay.py LISTEN_HOST LISTEN_PORT TARGET_HOST TARGET_PORT DELAY_MS``; prints a line once it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

_PIECE_BYTES = 65536


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass on what comes, each piece ``delay_s`` later, without holding up the pieces behind it."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            loop.call_later(delay_s, writer.write, piece)
    loop.call_later(delay_s, writer.close)


async def main(listen_host: str, listen_port: str, host: str, port: str, delay_ms: str) -> None:
    """Relay until killed."""
    delay_s = float(delay_ms) / 1000
    pumps: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        for pump in (_pump(reader, far_writer, delay_s), _pump(far_reader, writer, delay_s)):
            task = asyncio.ensure_future(pump)
            pumps.add(task)
            task.add_done_callback(pumps.discard)

    server = await asyncio.start_server(relay, listen_host, int(listen_port), backlog=1024)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
