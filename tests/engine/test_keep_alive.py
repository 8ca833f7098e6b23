"""The open loop beside real servers that close idle connections: no request is lost, no thread is held in silence."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from rig.engine.executors import OpenLoop
from rig.errors import ErrorKind
from rig.machine.child import is_listening, wait_until
from rig.profile import Profile
from rig.target.endpoint import Endpoint
from tests.engine.driving import assignment
from tests.engine.peer import refused_port
from tests.engine.scenes import scenario

SECONDS = 60
ASGI = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
WSGI = """
def app(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
NODE = """
const answer = (q, a) => q.resume().on("end", () => a.end("ok"));
require("http").createServer(answer).listen(+process.argv[2], "127.0.0.1");
"""
SERVERS = ("uvicorn", "gunicorn", "node")


def _command(server: str, folder: Path, port: int) -> list[str]:
    """How a server is started with its own limit for idle connections; skips where it is not installed."""
    if server == "node":
        if not (node := shutil.which("node")):
            pytest.skip("node is not installed")
        (folder / "app.js").write_text(NODE)
        return [node, str(folder / "app.js"), str(port)]
    if importlib.util.find_spec(server) is None:
        pytest.skip(f"{server} is not installed")
    (folder / "app.py").write_text(ASGI if server == "uvicorn" else WSGI)
    if server == "uvicorn":
        return [sys.executable, "-m", server, "--log-level=warning", f"--port={port}", "app:app"]
    # Few threads: a connection that says nothing holds one of them.
    threads = ["--workers=1", "--worker-class=gthread", "--threads=4"]
    return [sys.executable, "-m", server, "--log-level=warning", f"--bind=127.0.0.1:{port}", *threads, "app:app"]


@contextmanager
def _serving(server: str, folder: Path) -> Iterator[Endpoint]:
    port = refused_port()
    with subprocess.Popen(_command(server, folder, port), cwd=folder) as process:
        try:
            assert wait_until(lambda: is_listening(port), process, 20.0), "the server did not start"
            yield Endpoint("127.0.0.1", port)
        finally:
            process.terminate()


async def _drive(profile: Profile, endpoint: Endpoint, rows_file: Path, rate_per_s: float) -> Counter[str]:
    given = assignment(
        profile,
        scenario(int(rate_per_s * SECONDS), connections=200, rate_per_s=rate_per_s, deadline_s=SECONDS + 10),
        endpoint,
        rows_file,
    )
    ends = Counter[str]()

    class Counting(OpenLoop):
        def end_request(self, connection, status, kind, done_ns) -> None:  # type: ignore[no-untyped-def]
            ends[str(status) if kind is ErrorKind.NONE else kind.name] += 1
            super().end_request(connection, status, kind, done_ns)

    executor = Counting(given, lambda _: None)
    try:
        await executor.prepare()
        await executor.run(time.monotonic_ns())
    finally:
        await executor.close()
    return ends


@pytest.mark.full
@pytest.mark.timeout(SECONDS * 10)
@pytest.mark.parametrize("server", SERVERS)
def test_no_request_meets_a_closing_connection(server: str, profile: Profile, tmp_path: Path) -> None:
    """Rates at which a connection of many is idle for about as long as the server lets it be, all at once."""
    rates = (0.5, 5.0, 20.0, 25.0, 30.0, 35.0, 39.0, 60.0, 100.0)

    async def scenes(endpoint: Endpoint) -> list[Counter[str]]:
        runs = (_drive(profile, endpoint, tmp_path / f"{rate}.rows", rate) for rate in rates)
        return await asyncio.gather(*runs)

    with _serving(server, tmp_path) as endpoint, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ends = runner.run(scenes(endpoint))
    assert dict(zip(rates, map(dict, ends), strict=True)) == {rate: {"200": int(rate * SECONDS)} for rate in rates}
