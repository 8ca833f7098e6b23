"""What lies around before a run and after it: processes, directories, connections.

It looks and writes down; ``rig.checks.surroundings`` judges.
"""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from rig.checks.case import Finding
from rig.engine.endpoint import Endpoint
from rig.lifeline import Lifeline, leftovers


def look_before() -> list[Finding]:
    """Processes that an earlier run left."""
    found = leftovers()
    detail = ", ".join(f"{process.pid} ({process.name})" for process in found[:5])
    return [Finding("before", "processes of an earlier run", not found, detail)]


def look_after(lifeline: Lifeline, endpoint: Endpoint | None) -> list[Finding]:
    """What this run has left although everything was stopped; ``endpoint`` is a target that the rig launched."""
    running = lifeline.processes()
    zombies = [child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
    findings = [
        _finding("processes of this run", [f"{process.pid} ({process.name})" for process in running]),
        _finding("zombies", [str(pid) for pid in zombies]),
        _finding("temporary directories", [str(path) for path in lifeline.directories() if path.exists()]),
    ]
    if endpoint is not None:
        findings.append(_finding("the target's port", [str(endpoint.port)] if _listens(endpoint) else []))
    return findings


def _finding(what: str, left: Sequence[str]) -> Finding:
    return Finding("after", what, not left, ", ".join(left[:5]))


def _listens(endpoint: Endpoint) -> bool:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == endpoint.port for c in connections)
