"""The disk of the events is full: their table lies on a small disk of its own, and that takes no more.

Flow: mount a tmpfs beside the data directory, make a tablespace on it, move the table there and pack it, and shrink the
disk to what lies on it. Each row that needs another page then fails with ENOSPC (53100, ``disk_full``). Healing gives
the disk room, moves the table back and unmounts the disk.

The log of the server (WAL) lies elsewhere, so the server goes on. One that cannot write its log ends itself:
``database-killed`` is the same.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from rig.chaos.fault import ChaosTarget, Struck
from rig.errors import RigError
from rig.machine.child import run_to_end

_TIMEOUT_S = 5.0
_MOUNT = ("mount", "-t", "tmpfs", "-o", "mode=0700,uid={uid},gid={gid}", "rig-disk")
_UNMOUNT = ("sh", "-c", '! mountpoint -q "$1" || umount --lazy "$1"', "sh")
_TABLESPACE = sql.Identifier("rig_disk")
_DEFAULT = sql.Identifier("pg_default")
_TABLES = """
SELECT oid::regclass::text FROM pg_catalog.pg_class
WHERE relkind = 'r' AND (oid = {0}::regclass OR oid IN (SELECT relid FROM pg_catalog.pg_partition_tree({0})))"""


def find_obstacle(data_dir: Path) -> str:
    """Why no disk can be mounted beside a data directory; empty where it can. Nothing stays mounted.

    The mount is tried in a mount namespace that ends with the command.
    """
    try:
        _run("unshare", "--mount", *_mount_command(data_dir), str(data_dir.parent))
    except RigError as error:
        return f"no disk that may be filled can be mounted, which takes the rights of root: {error}"
    return ""


@contextmanager
def fill_disk(target: ChaosTarget, connection: psycopg.Connection[Any], table: sql.Composable) -> Iterator[Struck]:
    """The disk of ``table`` and its partitions is full until the context is left. RigError where it cannot be."""
    control = target.store.control
    assert control is not None
    folder = control.data_dir.parent / "disk"
    folder.mkdir(exist_ok=True)
    with target.supervisor.undone_at_end([*_UNMOUNT, str(folder)]):
        _run(*_mount_command(control.data_dir), str(folder))
        connection.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(_TABLESPACE, sql.Literal(str(folder))))
        try:
            name = sql.Literal(table.as_string(connection))
            tables = [row[0] for row in connection.execute(sql.SQL(_TABLES).format(name))]
            if not tables:  # nothing would be full, and the fault would count as one that struck
                raise RigError("what holds the events is no table that can be moved to another disk")
            try:
                _move(connection, tables, _TABLESPACE)
                for each in tables:
                    connection.execute(f"VACUUM FULL {each}".encode())
                yield Struck(notes=[f"{_shrink(folder):,.0f} kB full"])
            finally:
                _run("mount", "-o", "remount,size=50%", str(folder))
                _move(connection, tables, _DEFAULT)
        finally:
            connection.execute(sql.SQL("DROP TABLESPACE {}").format(_TABLESPACE))


def _move(connection: psycopg.Connection[Any], tables: Sequence[str], tablespace: sql.Identifier) -> None:
    for table in tables:
        connection.execute(sql.SQL("ALTER TABLE {} SET TABLESPACE {}").format(sql.SQL(table), tablespace))


def _shrink(folder: Path) -> float:
    """Make a disk as small as what lies on it; how many kilobytes that is. What is written meanwhile is refused."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        disk = os.statvfs(folder)
        used_kb = (disk.f_blocks - disk.f_bfree) * disk.f_frsize / 1024
        try:
            _run("mount", "-o", f"remount,size={used_kb:.0f}k", str(folder))
            return used_kb
        except RigError:  # something was written since: the kernel makes no disk smaller than that
            if time.monotonic() > deadline:
                raise


def _mount_command(data_dir: Path) -> list[str]:
    owner = data_dir.stat()
    return [word.format(uid=owner.st_uid, gid=owner.st_gid) for word in _MOUNT]


def _run(*command: str) -> None:
    try:
        done = run_to_end(command, _TIMEOUT_S, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RigError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise RigError(" ".join(done.stdout.split()) or f"{command[0]} ended with exit code {done.returncode}")
