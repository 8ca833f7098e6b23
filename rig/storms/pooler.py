"""pgbouncer in transaction mode, between a fleet and its database, where the machine has it.

It gets fewer server connections than there are processes. So transactions of different processes take turns on one
server session, which breaks locks that belong to a session.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from psycopg.conninfo import conninfo_to_dict

from rig.errors import RigError
from rig.machine.child import free_port, is_listening, running, wait_until
from rig.machine.registry import MARKER
from rig.machine.supervisor import current_supervisor, temporary_folder
from rig.target.postgres.installation import server_account

PROGRAM = "pgbouncer"
_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin")
_START_S = 10.0
_STOP_S = 5.0


def find_pooler(environ: Mapping[str, str]) -> Path | None:
    """The program, None where the machine has none."""
    path = os.pathsep.join([environ.get("PATH", os.defpath), *_DIRECTORIES])
    found = shutil.which(PROGRAM, path=path)
    return Path(found) if found else None


@contextmanager
def run_pooler(dsn: str, environ: Mapping[str, str], *, server_connections: int, log_file: Path) -> Iterator[str]:
    """Run a pooler in front of ``dsn``; gives the DSN to use instead, without the password.

    RigError where it does not start.
    """
    program = find_pooler(environ)
    if program is None:
        raise RigError(f"{PROGRAM} is not installed")
    account = server_account(environ)  # it refuses to run as root, as PostgreSQL does
    # The configuration holds a password: it must not outlive the rig, however that ends.
    with temporary_folder("rig-pooler-") as folder:
        port = free_port()
        config = folder / "pgbouncer.ini"
        config.touch(mode=0o600)
        config.write_text(_config(dsn, port, server_connections), encoding="utf-8")
        if account is not None:
            for path in (folder, config):
                account.own(path)
        options = {
            "cwd": folder,
            "env": {"PATH": environ.get("PATH", os.defpath), MARKER: os.environ.get(MARKER, "")},
            **(account.process_options() if account else {}),
        }
        with running([program, config], _STOP_S, output=log_file, **options) as process:
            if (
                supervisor := current_supervisor()
            ) is not None:  # it runs under another uid, so its marker may not be readable
                supervisor.stop_at_end(process.pid)
            if not wait_until(lambda: is_listening(port), process, _START_S):
                raise RigError(f"{PROGRAM} does not listen; see {log_file}")
            yield _address(dsn, port)


def _config(dsn: str, port: int, server_connections: int) -> str:
    to = conninfo_to_dict(dsn)
    server = " ".join(f"{key}='{to[key]}'" for key in ("host", "port", "dbname", "user", "password"))
    # Sessions are used in turn, so that a lock which stays behind in one meets the other clients at once.
    return f"""[databases]
{to["dbname"]} = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
server_round_robin = 1
default_pool_size = {server_connections}
max_client_conn = 500
"""


def _address(dsn: str, port: int) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}"))
