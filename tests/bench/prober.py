"""``python -m tests.bench.prober PORT PATH``: asks one path every 10 ms, each time on a new connection.

It shares no code with the rig: plain sockets, its own clock, its own loop. Each answer is a line ``BEGUN ENDED
STATUS``: when it was asked for and when it came, in nanoseconds of the monotonic clock; and its status, 0 where none
came within two seconds. SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time

EVERY_S = 0.01
_TIMEOUT_S = 2.0


async def _read_status(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()


async def _ask(port: int, path: str) -> None:
    begun_ns, status = time.monotonic_ns(), 0
    with contextlib.suppress(OSError, TimeoutError, IndexError, ValueError):
        status = await asyncio.wait_for(_read_status(port, path), _TIMEOUT_S)
    sys.stdout.write(f"{begun_ns} {time.monotonic_ns()} {status}\n")


async def _probe(port: int, path: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    due_s, asked = time.monotonic(), set[asyncio.Task[None]]()
    while not stop.is_set():
        asked.add(task := asyncio.create_task(_ask(port, path)))
        task.add_done_callback(asked.discard)
        due_s += EVERY_S
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
    await asyncio.gather(*asked)


if __name__ == "__main__":
    asyncio.run(_probe(int(sys.argv[1]), sys.argv[2]))
