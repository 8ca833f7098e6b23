"""``python -m tests.bench.prober PORT < REQUEST``: sends one request every 10 ms, as a sender would.

It keeps its connections and has at most a hundred: what is due while all are busy waits for one. It shares no code with
the rig: plain sockets, its own clock, its own loop. Each answer is a line ``BEGUN ENDED STATUS``: when it was asked for
and when it came, in nanoseconds of the monotonic clock; and its status, 0 where none came within two seconds. SIGTERM
ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time

EVERY_S = 0.01
_CONNECTIONS = 100
_TIMEOUT_S = 2.0

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Prober:
    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._idle: list[_Connection] = []

    async def ask(self) -> None:
        async with self._free:
            begun_ns, status = time.monotonic_ns(), 0
            with contextlib.suppress(OSError, EOFError, TimeoutError, IndexError, ValueError):
                status = await asyncio.wait_for(self._read_status(), _TIMEOUT_S)
        sys.stdout.write(f"{begun_ns} {time.monotonic_ns()} {status}\n")

    async def _read_status(self) -> int:
        """Over the connection that was used last; over a new one where all are busy."""
        reader, writer = await self._connect()
        try:
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return int(head.split()[1])

    async def _connect(self) -> _Connection:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)


async def _probe(port: int, request: bytes) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    prober, due_s, asked = _Prober(port, request), time.monotonic(), set[asyncio.Task[None]]()
    while not stop.is_set():
        asked.add(task := asyncio.create_task(prober.ask()))
        task.add_done_callback(asked.discard)
        due_s += EVERY_S
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
    await asyncio.gather(*asked)


if __name__ == "__main__":
    asyncio.run(_probe(int(sys.argv[1]), sys.stdin.buffer.read()))
