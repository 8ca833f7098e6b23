"""Commands of a profile, as a storm runs them: once before it, as members of a fleet, or in the background."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from rig.errors import ConfigError, Unavailable
from rig.machine.child import run_to_end, running
from rig.storms.fleet import Barrier
from rig.storms.last_words import error_line, last_lines_of

_PREPARE_TIMEOUT_S = 60.0
_STOP_S = 5.0
_POLL_S = 0.02
_OUTPUT_BYTES = 65536
_FORBIDDEN = "permission denied for schema"
_MAY_CREATE = (
    "; DATABASE_URL is the service's role, which may not create: take MIGRATION_DATABASE_URL, or in a race test give "
    'env = { DATABASE_URL = "{admin_dsn}" }'
)


@dataclass(frozen=True, slots=True)
class Replicas:
    """What every member of a fleet of commands runs; it finds its number in the environment variable ``REPLICA``."""

    command: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Workers:
    """What every member of a fleet of programs runs that need not end by themselves."""

    replicas: Replicas
    stop_file: Path


@dataclass(frozen=True, slots=True)
class Ended:
    """How a replica's command ended, when it ran (monotonic ns), and the last ``lines`` that it wrote.

    ``exit_code`` is None where it had not ended when its time was over.
    """

    exit_code: int | None
    began_ns: int
    ended_ns: int
    lines: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The line that says why it ended so."""
        return f"did not end within {self.elapsed_s:.0f} s" if self.exit_code is None else error_line(self.lines)

    @property
    def code(self) -> str:
        """The exit code as a word: ``timeout`` where there is none."""
        return "timeout" if self.exit_code is None else str(self.exit_code)

    @property
    def elapsed_s(self) -> float:
        """How long it ran."""
        return (self.ended_ns - self.began_ns) / 1e9


def be_replica(number: int, payload: Replicas, barrier: Barrier) -> Ended:
    """A fleet's work: run the command from the release to its end. OSError where it cannot be run."""
    barrier()
    began_ns = time.monotonic_ns()
    environ = {**payload.environ, "REPLICA": str(number)}
    with (
        TemporaryFile() as output,
        running(payload.command, _STOP_S, output=output.fileno(), env=environ) as process,
    ):
        with suppress(subprocess.TimeoutExpired):
            process.wait(payload.timeout_s)
        exit_code, ended_ns = process.returncode, time.monotonic_ns()
        written = _last_of(output.fileno())
    return Ended(exit_code, began_ns, ended_ns, last_lines_of(written))


def be_worker(number: int, payload: Workers, barrier: Barrier) -> Ended:
    """As ``be_replica``, of a program that need not end: it is started again until the stop file is there.

    How it ends after that is its own affair. One that ends otherwise than with exit code 0 before is not started again.
    """
    barrier()
    began_ns = time.monotonic_ns()
    environ = {**payload.replicas.environ, "REPLICA": str(number)}
    with TemporaryFile() as output:
        exit_code: int | None = 0
        while exit_code == 0 and not payload.stop_file.exists():
            with running(payload.replicas.command, _STOP_S, output=output.fileno(), env=environ) as process:
                while process.poll() is None and not payload.stop_file.exists():
                    time.sleep(_POLL_S)
                exit_code = process.returncode or 0
        written = _last_of(output.fileno())
    return Ended(exit_code, began_ns, time.monotonic_ns(), last_lines_of(written))


def _last_of(file: int) -> str:
    """The end of a file that others may still write to."""
    return os.pread(file, _OUTPUT_BYTES, max(0, os.fstat(file).st_size - _OUTPUT_BYTES)).decode(errors="replace")


def prepare(command: Sequence[str], environ: Mapping[str, str], key: str) -> None:
    """Run a command to its end; ConfigError where it cannot be run, Unavailable where it fails."""
    try:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        done = run_to_end(command, _PREPARE_TIMEOUT_S, env=dict(environ), **pipes)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{key} could not be run: {error}") from None
    if done.returncode != 0:
        said = error_line(last_lines_of(done.stdout, done.stderr))
        remedy = _MAY_CREATE if _FORBIDDEN in done.stdout + done.stderr else ""
        raise Unavailable(f"{key} ended with exit code {done.returncode}: {said}{remedy}")


@contextmanager
def run_in_background(
    command: Sequence[str], environ: Mapping[str, str], log_file: Path, key: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in the background, for the time of the context; ConfigError where it cannot be started."""
    with ExitStack() as stack:
        try:
            process = stack.enter_context(running(command, _STOP_S, output=log_file, env=dict(environ)))
        except OSError as error:
            raise ConfigError(f"{key} could not be run: {error}") from None
        yield process
