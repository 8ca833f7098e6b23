"""H-A1 and H-A2: the database's commit path, and locks in it.

Both show as sessions that wait. The requests that wait for a connection behind these sessions count too, as far as all
connections are in use. A wait is not supported because it is the largest: one always is. It must take more time than in
a healthy database.
"""

from __future__ import annotations

from rig.diagnose.numbers import DatabaseNumbers, Measured
from rig.diagnose.weighing import Claim, first_of
from rig.evidence.diagnosis import Figure, Hypothesis
from rig.text import shorten

OF_THE_SESSIONS = 0.5
"""Share of the active sessions that wait for it: half of what a session does."""
OF_THE_FLIGHT = 0.1
"""Share of the requests in flight that wait. Without the wait, the response time would be shorter by so much."""
COMMIT_MS = 5.0
"""A commit waits for the flush before it and then for its own: up to 2 ms each on flash or a good network volume. A
longer commit means a slow or shared disk, a standby, or a configured delay."""
LOCKED_MS = 2.0
"""For each transaction: as long as two commits. Sessions with rows of their own wait for no lock at all."""

COMMIT = Claim(
    "H-A1",
    "commit path of the database",
    "half of the active sessions wait for the write-ahead log (its lock, its flush, a standby), a commit takes over "
    f"{COMMIT_MS:g} ms, and cores are idle",
    "few sessions wait for the log, or commits are short, or everything waits for a core",
)
LOCKS = Claim(
    "H-A2",
    "locks in the database",
    "half of the active sessions wait for locks that others hold",
    f"few sessions wait for a lock, or a transaction waits less than {LOCKED_MS:g} ms",
)


def weigh_commit(measured: Measured) -> Hypothesis:
    """H-A1. Commit latency is sessions in commit over commits a second (Little's law)."""
    database = measured.database
    if database is None:
        return COMMIT.leave_open(measured.unseen["database"])
    waiting = database.committing
    latency_ms = _each_ms(waiting, database)
    score = _behind(waiting, measured, database)
    figures: dict[str, Figure] = {
        "commit_ms": latency_ms,
        "sessions_in_commit": waiting,
        "active_sessions": database.active,
        "share_of_sessions": _share(waiting, database),
        "share_of_requests_in_flight": score,
        "commits_per_s": database.commits_per_s,
        "most_in": _most(database, "IO:Wal", "LWLock:WAL", "IPC:SyncRep", "Timeout:CommitDelay"),
    }
    against = first_of(
        (
            _share(waiting, database) < OF_THE_SESSIONS,
            f"{waiting:.2f} of {database.active:.2f} active sessions wait for the write-ahead log",
        ),
        (score < OF_THE_FLIGHT, f"{score:.0%} of the requests in flight are behind a commit"),
        (latency_ms < COMMIT_MS, f"a commit takes {latency_ms:.1f} ms"),
        (measured.short_of_cores, "no core is idle, and a session that waits for a core commits late"),
    )
    because = (
        f"a commit takes {latency_ms:.0f} ms, {waiting:.1f} of {database.active:.1f} active sessions are in one "
        f"(most in {figures['most_in']})"
    )
    return COMMIT.decide(against, score, figures, because)


def weigh_locks(measured: Measured) -> Hypothesis:
    """H-A2, with the longest wait that was seen and the statement that held the lock."""
    database = measured.database
    if database is None:
        return LOCKS.leave_open(measured.unseen["database"])
    waiting = database.lock_waiting
    each_ms = _each_ms(waiting, database)
    score = _behind(waiting, measured, database)
    figures: dict[str, Figure] = {
        "lock_wait_ms": each_ms,
        "sessions_waiting": waiting,
        "active_sessions": database.active,
        "share_of_sessions": _share(waiting, database),
        "share_of_requests_in_flight": score,
        "longest_wait_s": database.longest_lock_wait_s,
        "blocked_query": database.blocked_query,
        "blocking_query": database.blocking_query,
        "most_in": _most(database, "Lock:"),
    }
    against = first_of(
        (
            _share(waiting, database) < OF_THE_SESSIONS,
            f"{waiting:.2f} of {database.active:.2f} active sessions wait for a lock",
        ),
        (score < OF_THE_FLIGHT, f"{score:.0%} of the requests in flight are behind a lock"),
        (each_ms < LOCKED_MS, f"a transaction waits {each_ms:.1f} ms for locks"),
    )
    because = f"{waiting:.1f} of {database.active:.1f} active sessions wait for locks (most in {figures['most_in']})"
    if database.blocking_query:
        query = shorten(" ".join(database.blocking_query.split()), 60)
        because += f", the longest {database.longest_lock_wait_s:.2f} s, held by {query}"
    return LOCKS.decide(against, score, figures, because)


def stands_out(*hypotheses: Hypothesis) -> str:
    """The title of the first that is supported, empty where none is."""
    return next((each.title for each in hypotheses if each.outcome == "supported"), "")


def _behind(waiting: float, measured: Measured, database: DatabaseNumbers) -> float:
    """Share of the requests in flight that wait in such a session or for one."""
    return measured.share(waiting + measured.waiting_for_sessions * _share(waiting, database))


def _share(waiting: float, database: DatabaseNumbers) -> float:
    return waiting / database.active if database.active else 0.0


def _each_ms(waiting: float, database: DatabaseNumbers) -> float:
    """Little's law: mean number of waiting sessions over transactions a second (at least one)."""
    return waiting / max(database.commits_per_s, 1.0) * 1e3


def _most(database: DatabaseNumbers, *prefixes: str) -> str:
    return next((str(event) for event in database.by_event.index if str(event).startswith(prefixes)), "")
