"""The process of a server of the rig's own: initialised, started, waited for, stopped, removed.

Flow: a fresh directory, owned by the account that runs the server, holds the data, the configuration and, where that
account cannot read the programs, a copy of them. ``initdb`` makes the data directory; ``postgres`` is started directly,
in a session of its own, so that no Ctrl-C reaches it and no pg_ctl comes between. It is ready when its
``postmaster.pid`` says so; to check this takes no connection, so that no failed one is in the log.

Not for databases and roles (``rig.target.postgres.cluster``). The password is never on a command line or in a log.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from rig.errors import ConfigError, Unavailable
from rig.machine.child import free_port, run_to_end, start, wait_until
from rig.machine.processes import children
from rig.machine.supervisor import Supervisor
from rig.target.postgres.installation import (
    Account,
    BinariesSource,
    Installation,
    find_installation,
    make_reachable,
    server_account,
)

HOST = "127.0.0.1"
OWNER = "rig"

_DEFAULTS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] %q%d %a ",
    "track_io_timing": "on",
}
_INITDB_TIMEOUT_S = 60.0
_READY_TIMEOUT_S = 60.0
_STOP_SIGNALS = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 8.0), (signal.SIGKILL, 5.0))
"""Fast shutdown, then immediate (it gives its backends 5 s), then SIGKILL."""
_PORT_ATTEMPTS = 5
_QUOTED_LINES = 8
_SYNCFS_SINCE = 14


class ServerControl:
    """A server of the rig's own that can be killed, stopped, and started again on its data, at the same port."""

    def __init__(self, server: _DataDirectory) -> None:
        self._server = server
        self._process, self.port = server.start()
        self.data_dir = server.data_dir

    @property
    def pid(self) -> int:
        """The postmaster's."""
        return self._process.pid

    def kill(self) -> list[int]:
        """SIGKILL to all of its processes at once, as when the machine is lost; their pids."""
        processes = [psutil.Process(self.pid), *children(self.pid, recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(processes, _READY_TIMEOUT_S)
        return [process.pid for process in processes]

    def stop(self) -> None:
        """A fast shutdown, which ends all sessions; harder where that takes too long."""
        _stop(self._process)

    def start(self) -> None:
        """Start it again, where it does not run, and wait until it has recovered. Unavailable where it does not."""
        if self._process.poll() is not None:
            self._process, _ = self._server.start(self.port)


@dataclass(frozen=True)
class Postmaster:
    """A server that is ready on ``HOST``. ``OWNER`` is its superuser."""

    source: BinariesSource
    control: ServerControl
    data_dir: Path
    log_file: Path
    password: str = field(repr=False)


@contextmanager
def run_postmaster(
    supervisor: Supervisor, environ: Mapping[str, str], settings: Mapping[str, str], log_file: Path | None
) -> Iterator[Postmaster]:
    """A fresh server, stopped and removed at the end of the context.

    ``settings`` override the defaults; ``log_file`` is appended to. Raises ``Unavailable`` with the last lines of the
    log where the server does not come up, ``ConfigError`` where PG_BIN, RIG_PG_USER or TMPDIR cannot be used.
    """
    account, found = server_account(environ), find_installation(environ)
    home = Path(tempfile.mkdtemp(prefix="rig-pg-"))
    try:
        supervisor.remove_at_end(home)
        if account is not None:
            account.own(home)
        installation = make_reachable(found, account, home)
        server = _DataDirectory(
            installation=installation,
            home=home,
            data_dir=home / "data",
            log_file=log_file or home / "postgres.log",
            launch=_launch_options(supervisor, environ, home, account),
            started=supervisor.remove_shared_memory_at_end,
        )
        password = secrets.token_urlsafe(24)
        server.initialise(password, account)
        server.configure(settings)
        supervisor.stop_postgres_at_end(server.data_dir)
        control = ServerControl(server)
        try:
            yield Postmaster(found.source, control, server.data_dir, server.log_file, password)
        finally:
            control.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@dataclass(frozen=True)
class _DataDirectory:
    """One data directory, and what is needed to run the programs on it."""

    installation: Installation
    home: Path
    data_dir: Path
    log_file: Path
    launch: Mapping[str, Any]
    """Options of ``Popen``: account, environment, directory."""
    started: Callable[[int], None]
    """Told of each postmaster, by its pid."""

    def initialise(self, password: str, account: Account | None) -> None:
        """Run ``initdb``, without its fsync: nothing of value is lost if the machine crashes now."""
        password_file = self.home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        if account is not None:
            account.own(password_file)
        command: list[str | Path] = [self.installation.bin_dir / "initdb", "-D", self.data_dir, "-U", OWNER]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-sync"]
        try:
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            made = run_to_end(command, _INITDB_TIMEOUT_S, **self.launch, **pipes)
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"{command[0]} did not run: {error}") from error
        finally:
            password_file.unlink()
        if made.returncode != 0:
            raise Unavailable(f"{command[0]} failed{_remedy(made.stdout)}:\n{_quote_lines(made.stdout.splitlines())}")

    def configure(self, settings: Mapping[str, str]) -> None:
        """Append to ``postgresql.conf``: unlike arguments, these settings can be changed by ALTER SYSTEM."""
        preloaded = {"shared_preload_libraries": "pg_stat_statements"}
        wanted = _DEFAULTS | (preloaded if self.installation.has_statement_statistics else {}) | dict(settings)
        quoted = {name: value.replace("'", "''") for name, value in wanted.items()}
        lines = [f"{name} = '{value}'\n" for name, value in quoted.items()]
        with (self.data_dir / "postgresql.conf").open("a") as configuration:
            configuration.writelines(["\n# the rig's\n", *lines])

    def start(self, wanted_port: int = 0) -> tuple[subprocess.Popen[bytes], int]:
        """Start the postmaster and wait until it is ready; it and its port. If a free port is taken, try another."""
        for _ in range(1 if wanted_port else _PORT_ATTEMPTS):
            port = wanted_port or free_port()
            with self.log_file.open("ab") as log:
                begin = log.tell()
                process = self._launch_postmaster(port, log.fileno(), *(self._recovery() if wanted_port else ()))
            self.started(process.pid)
            try:
                if self._wait_until_ready(process):
                    return process, port
            except BaseException:
                _stop(process)
                raise
            lines = self.log_file.read_bytes()[begin:].decode(errors="replace").splitlines()
            if not any("Address already in use" in line for line in lines):
                break
        how = f"(exit {process.returncode}){_remedy(' '.join(lines))}"
        raise Unavailable(f"PostgreSQL ended before it was ready {how}:\n{_quote_lines(lines)}")

    def _recovery(self) -> tuple[str, ...]:
        """Arguments for a server that was killed: else it syncs each file of each database, for half a minute perhaps.

        ``syncfs`` is there on Linux since version 14.
        """
        version = float((self.data_dir / "PG_VERSION").read_text())
        is_there = version >= _SYNCFS_SINCE and sys.platform == "linux"
        return ("-c", "recovery_init_sync_method=syncfs") if is_there else ()

    def _launch_postmaster(self, port: int, log: int, *arguments: str) -> subprocess.Popen[bytes]:
        program = self.installation.bin_dir / "postgres"
        try:
            return start([program, "-D", self.data_dir, "-p", str(port), *arguments], output=log, **self.launch)
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"{program} did not start: {error}") from error

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the server became ready; False if it ended instead. Its status is line 8 of the pid file.

        One that was killed has left its pid file.
        """
        pid_file = self.data_dir / "postmaster.pid"

        def is_ready() -> bool:
            try:
                lines = pid_file.read_text().splitlines()
                return lines[7].strip() == "ready" and lines[0] == str(process.pid)
            except (FileNotFoundError, IndexError):  # not written yet, or the server just ended
                return False

        if wait_until(is_ready, process, _READY_TIMEOUT_S):
            return True
        if process.poll() is None:
            raise Unavailable(f"PostgreSQL was not ready after {_READY_TIMEOUT_S:.0f} s; see {self.log_file}")
        return False


def _launch_options(
    supervisor: Supervisor, environ: Mapping[str, str], home: Path, account: Account | None
) -> dict[str, Any]:
    """How the programs are started. Of the environment they get nothing that may hold a secret or a PG* default."""
    if account is not None and not account.can_read(home):
        raise ConfigError(
            f"the account {account.name}, which runs PostgreSQL, cannot reach {home.parent}; "
            "set TMPDIR to a directory that it can"
        )
    kept = {name: environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in environ}
    options: dict[str, Any] = {
        "env": kept | {"LC_ALL": "C"} | supervisor.marker,
        "cwd": home,  # the account may not be able to enter the present directory
    }
    return options | (account.process_options() if account else {})


def _stop(process: subprocess.Popen[bytes]) -> None:
    for kind, timeout_s in _STOP_SIGNALS:
        process.send_signal(kind)
        try:
            process.wait(timeout_s)
            return
        except subprocess.TimeoutExpired:
            continue


def _remedy(said: str) -> str:
    """What helps against what PostgreSQL said, where it does not say so itself."""
    if "shared memory segment" in said and "No space left" in said:
        return ", because /dev/shm is too small: give it more (docker run --shm-size=256m)"
    return ""


def _quote_lines(lines: list[str]) -> str:
    return "\n".join(f"  {line}" for line in lines[-_QUOTED_LINES:])
