"""An independent count for the scoreboard of queues: ``python queues.py DSN [ROUNDS]``.

It shares no code with the rig. Forty jobs, four workers. After a number of effects, drawn below 30, one of the workers
that are at a job is killed by SIGKILL. The others go on until every job has its effect, or none has come for fifteen
seconds. Counted are the rows of the table of effects.
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

HERE = Path(__file__).resolve().parents[1]
JOBS, QUIET_S = 40, 15.0
PROGRAMS = {
    "procrastinate": ("queues.py", "procrastinate"),
    "pgqueuer": ("queues.py", "pgqueuer"),
    "apscheduler-3": ("queues.py", "apscheduler"),
    "graphile-worker": ("queue.cjs", "graphile-worker"),
    "pg-boss": ("queue.cjs", "pg-boss"),
}


def main() -> None:
    """One line for each subject and round."""
    for subject in PROGRAMS:
        for _ in range(int(sys.argv[2]) if sys.argv[2:] else 3):
            print(subject, race(subject), flush=True)


def race(subject: str) -> str:
    """Effects, repeats and jobs without an effect, of one race."""
    database = f"count_{secrets.token_hex(4)}"
    with psycopg.connect(sys.argv[1], autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{database}"')
    dsn = psycopg.conninfo.conninfo_to_dict(make_conninfo(sys.argv[1], dbname=database))
    parts = {"host": "127.0.0.1", "port": "5432", "password": "", **dsn}
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parts)
    program, name = PROGRAMS[subject]
    folder = HERE / ".environments" / subject
    run = str(folder / "bin" / "python") if program.endswith(".py") else "node"
    command = [run, str(HERE / "subjects" / program), name]
    environ = {**os.environ, "DATABASE_URL": url}
    for word in (["prepare"], ["enqueue", str(JOBS)]):
        subprocess.run([*command, *word], env=environ, cwd=folder, check=True)
    workers = [
        subprocess.Popen(
            [*command, "work"], env={**environ, "REPLICA": str(number)}, cwd=folder, stderr=subprocess.DEVNULL
        )
        for number in range(4)
    ]
    try:
        with psycopg.connect(url, autocommit=True) as eyes:
            held, killed = kill_one(eyes, workers)
            last, since, began = 0, time.monotonic(), time.monotonic()
            while time.monotonic() - since < QUIET_S:
                done = eyes.execute("SELECT count(DISTINCT job) FROM effect").fetchone()[0]
                if done == JOBS:
                    break
                if done > last:
                    last, since = done, time.monotonic()
                time.sleep(0.02)
            took = time.monotonic() - began
            time.sleep(1.0)  # a repeat may be under way
            times = Counter(job for (job,) in eyes.execute("SELECT job FROM effect"))
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                worker.kill()
    repeated = {job: count - 1 for job, count in times.items() if count > 1}
    unexplained = sum(count - (job in held) for job, count in repeated.items())
    return (
        f"{times.total()} effects, {sum(repeated.values())} repeats, {unexplained} that the kill does not explain, "
        f"{JOBS - len(times)} never done; worker {killed} held {sorted(held)}; {took:.1f} s after the kill"
    )


def kill_one(eyes: psycopg.Connection, workers: list[subprocess.Popen]) -> tuple[set[str], int]:
    """Kill a worker that is at a job; which jobs it began in the last second, and which worker it was."""
    until, after = time.monotonic() + 60, random.randrange(30)
    while time.monotonic() < until:
        rows = eyes.execute(
            "SELECT job, replica FROM work w WHERE NOT EXISTS (SELECT FROM effect e WHERE e.job = w.job)"
        ).fetchall()
        if rows and eyes.execute("SELECT count(*) FROM effect").fetchone()[0] >= after:
            number = int(random.choice(rows)[1])
            workers[number].kill()
            workers[number].wait()
            begun = "SELECT job FROM work WHERE replica = %s AND at > clock_timestamp() - interval '1 s'"
            still = eyes.execute(begun, [str(number)]).fetchall()
            return {job for (job,) in still}, number
        time.sleep(0.005)
    raise SystemExit("no worker was ever at a job")


if __name__ == "__main__":
    main()
