"""The gates of a migration race: who waits at one."""

from __future__ import annotations

import os
import signal
import threading

import psycopg

from rig.storms.ddl_ledger import LOGIN_GATE
from rig.storms.meeting import Meeting
from rig.target.postgres import Database
from tests.waiting import wait_until


def test_who_was_let_through_a_gate_and_has_not_run_since_waits_no_longer(database: Database) -> None:
    """Else the next gate opened before a slow replica had come to it, and a race went unseen."""
    with psycopg.connect(database.admin_dsn, autocommit=True) as replica, Meeting(database.admin_dsn, 1, 1) as meeting:
        ask = threading.Thread(target=replica.execute, args=("SELECT pg_advisory_lock_shared(%s)", (LOGIN_GATE,)))
        ask.start()
        wait_until(lambda: meeting.look([os.getpid()]) == ({0}, {0}))
        os.kill(replica.info.backend_pid, signal.SIGSTOP)
        try:
            meeting._connection.execute("SELECT pg_advisory_unlock(%s)", (LOGIN_GATE,))
            assert meeting.look([os.getpid()]) == (set(), {0})
        finally:
            os.kill(replica.info.backend_pid, signal.SIGCONT)
        ask.join()
