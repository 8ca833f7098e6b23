"""The foreign service, standing by itself: its database migrated, uvicorn listening. The rig has no part in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rig.machine.child import free_port, wait_until
from rig.target.endpoint import Endpoint
from rig.target.http_probe import HttpProbe
from rig.target.postgres import Database

FOLDER = Path(__file__).parent
PROFILE = FOLDER / "parcels.toml"
_READY_WITHIN_S = 20.0


@dataclass(frozen=True)
class Standing:
    """Where it listens, and its database's two doors."""

    url: str
    pid: int
    owner_dsn: str = field(repr=False)
    service_dsn: str = field(repr=False)

    @property
    def environ(self) -> dict[str, str]:
        """What the rig needs to know of the environment."""
        return {"PARCELS_OWNER_DSN": self.owner_dsn, "PARCELS_SERVICE_DSN": self.service_dsn}


@contextmanager
def standing_service(database: Database, **switches: str) -> Iterator[Standing]:
    """Migrate, serve, wait until it is ready, stop."""
    dsns = {"OWNER_DATABASE_URL": database.admin_dsn, "DATABASE_URL": database.runtime_dsn}
    environ = {**os.environ, **dsns, **switches}
    subprocess.run([sys.executable, str(FOLDER / "service.py"), "migrate"], env=environ, check=True, timeout=60)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "service:app", "--app-dir", str(FOLDER), "--port", str(port),
         "--log-level", "warning", "--no-access-log"],
        env=environ,
    )  # fmt: skip
    try:
        probe = HttpProbe(Endpoint("127.0.0.1", port), 2.0)
        assert wait_until(lambda: probe.get("/ready").status == 200, process, _READY_WITHIN_S)
        url = f"http://127.0.0.1:{port}"
        yield Standing(url, process.pid, database.admin_dsn, database.runtime_dsn)
    finally:
        process.terminate()
        process.wait(20)
