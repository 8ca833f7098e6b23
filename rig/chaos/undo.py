"""``python -m rig.chaos.undo``: undoes a fault, in a process of its own, so that the reaper of a killed rig can, too.

``continue PID:BORN …`` lets stopped processes go on. ``sql`` runs the statements of ``$RIG_UNDO_SQL`` (a JSON list) on
``$RIG_UNDO_DSN``, which is on no command line. Both do nothing where there is nothing to undo.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import psutil
import psycopg

from rig.machine.processes import born_s

DSN, STATEMENTS = "RIG_UNDO_DSN", "RIG_UNDO_SQL"
_CONNECT_TIMEOUT_S = 5


def _continue(marks: Sequence[str]) -> None:
    for mark in marks:
        pid, _, born = mark.partition(":")
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(pid))
            if born_s(process) == float(born):  # else another process has the pid now
                process.resume()


def _run_statements() -> None:
    with psycopg.connect(
        os.environ[DSN], autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S, application_name="rig-undo"
    ) as connection:
        for statement in json.loads(os.environ[STATEMENTS]):
            connection.execute(statement.encode())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["continue", *marks]:
            _continue(marks)
        case ["sql"]:
            _run_statements()
