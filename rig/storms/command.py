"""Commands of a profile, as a storm runs them: once before it, as members of a fleet, or in the background."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rig.errors import ConfigError, Unavailable
from rig.machine.child import running
from rig.storms.fleet import Barrier
from rig.text import last_lines

_PREPARE_TIMEOUT_S = 60.0
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Replicas:
    """What every member of a fleet of commands runs; it finds its number in the environment variable ``REPLICA``."""

    command: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """How a replica's command ended, when it ran (monotonic ns), and the last line that it wrote (``said``)."""

    exit_code: int
    began_ns: int
    ended_ns: int
    said: str

    @property
    def elapsed_s(self) -> float:
        """How long it ran."""
        return (self.ended_ns - self.began_ns) / 1e9


def be_replica(number: int, payload: Replicas, barrier: Barrier) -> Ended:
    """A fleet's work: run the command from the release to its end. OSError where it cannot be run."""
    barrier()
    began_ns = time.monotonic_ns()
    done = subprocess.run(
        payload.command,
        env={**payload.environ, "REPLICA": str(number)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=payload.timeout_s,
    )
    return Ended(done.returncode, began_ns, time.monotonic_ns(), last_lines(done.stderr or done.stdout, if_none=""))


def prepare(command: Sequence[str], environ: Mapping[str, str], key: str) -> None:
    """Run a command to its end; ConfigError where it cannot be run, Unavailable where it fails."""
    try:
        done = subprocess.run(
            list(command), env=dict(environ), capture_output=True, text=True, timeout=_PREPARE_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{key} could not be run: {error}") from None
    if done.returncode != 0:
        raise Unavailable(f"{key} ended with exit code {done.returncode}: {last_lines(done.stderr)}")


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
