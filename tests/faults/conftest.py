"""What the faults share: a workshop for each, and a server that may be killed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.machine.supervisor import Supervisor
from rig.target.postgres import Database
from tests.faults.server import Server, standing
from tests.faults.striking import Workshop


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """Not below pytest's own folders: those are closed to the account that runs PostgreSQL for root."""
    folder = Path(tempfile.mkdtemp(prefix="rig-fault-"))
    folder.chmod(0o755)
    opened = Workshop(folder)
    try:
        yield opened
    finally:
        opened.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(supervisor: Supervisor) -> Iterator[Server]:
    with standing(supervisor) as opened:
        yield opened


@pytest.fixture
def users_database(server: Server) -> Iterator[Database]:
    """A database on a server that can be killed; server and settings are the test's to leave as it found them."""
    created = server.cluster.create_database("test")
    yield created
    server.cluster.drop_database(created)


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, int], None]]:
    """``small_disk(folder, megabytes)`` lays a disk of so much over a folder; skips where that is not allowed."""
    mounted: list[Path] = []

    def mount(folder: Path, megabytes: int) -> None:
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "rig-test", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount: a small disk cannot be had")
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until the disk of a folder takes no more; the file that fills it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return ballast
