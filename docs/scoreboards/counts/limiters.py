"""An independent count for the scoreboard of rate limiters: ``python limiters.py DSN``.

It shares no code with the rig. Four processes of each subject, asked by eight clients as fast as they answer, for
twelve seconds: each by two keep-alive connections of its own, or all behind one port, where gunicorn ends a connection
with its answer. The count is what was let through in ten whole seconds of them, by second.
"""

from __future__ import annotations

import http.client
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

HERE = Path(__file__).resolve().parents[1]
PROGRAMS = {
    "slowapi": ("limiters.py", "slowapi"),
    "pyrate-limiter": ("limiters.py", "pyrate_limiter"),
    "express-rate-limit": ("limiter.cjs", "express-rate-limit"),
    "rate-limiter-flexible": ("limiter.cjs", "rate-limiter-flexible"),
    "flask-limiter": ("gunicorn", "limiters:flask_limiter()"),
}


def main() -> None:
    """One line for each subject."""
    for subject, (program, name) in PROGRAMS.items():
        database = f"count_{secrets.token_hex(4)}"
        with psycopg.connect(sys.argv[1], autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{database}"')
        environ = {**os.environ, "DATABASE_URL": url_of(make_conninfo(sys.argv[1], dbname=database))}
        folder = HERE / ".environments" / subject
        run = str(folder / "bin" / "python") if program.endswith(".py") else "node"
        ports, processes = [free_port() for _ in range(1 if program == "gunicorn" else 4)], []
        try:
            for port in ports:
                command = [run, str(HERE / "subjects" / program), name, str(port)]
                if program == "gunicorn":
                    options = ["--chdir", str(HERE / "subjects"), "--bind", f"127.0.0.1:{port}", "--workers", "4"]
                    command = [str(folder / "bin" / "gunicorn"), name, *options]
                processes.append(subprocess.Popen(command, env=environ, cwd=folder))
                wait_for(port)
            statuses, seconds = ask(ports)
        finally:
            for process in processes:
                process.terminate()
                process.wait()
        counted = [seconds[second] for second in range(1, 11)]
        print(subject, "let through by second", counted, "mean", sum(counted) / 10, dict(statuses), flush=True)


def ask(ports: list[int]) -> tuple[Counter[int], Counter[int]]:
    """How often each status came, and how many requests were let through in each second."""
    statuses: Counter[int] = Counter()
    seconds: Counter[int] = Counter()
    lock, began = threading.Lock(), time.monotonic()

    def run(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        while (at := time.monotonic() - began) < 12:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            with lock:
                statuses[answer.status] += 1
                seconds[int(at)] += answer.status == 200
            time.sleep(0.01)

    threads = [threading.Thread(target=run, args=(port,)) for port in ports for _ in range(8 // len(ports))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, seconds


def url_of(dsn: str) -> str:
    """A connection string as a URL, which the libraries want."""
    parts = {"host": "127.0.0.1", "port": "5432", "password": "", **psycopg.conninfo.conninfo_to_dict(dsn)}
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parts)


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(port: int) -> None:
    """Until somebody listens there."""
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


if __name__ == "__main__":
    main()
