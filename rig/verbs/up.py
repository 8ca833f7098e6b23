"""``rig up`` and ``rig down``: the target of a profile and its database, kept running for hand use.

Flow: ``start`` launches ``rig up --foreground`` as a process of its own and waits until it has written ``.up.json``
below the results directory; ``serve`` is that process; ``stop`` ends it by the pid and start time in that file. The
file holds credentials for use by hand: only its owner can read it, and it is removed when the target stops.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from rig.errors import ConfigError, EvidenceError, RigError, Unavailable, UsageError
from rig.machine.child import end, python_module, wait_until
from rig.machine.child import start as start_child
from rig.machine.files import read_end
from rig.machine.processes import alive, born_s
from rig.machine.supervisor import Supervisor
from rig.requests.identity import draw_run_key
from rig.run.job import Job
from rig.settings import DEFAULTS
from rig.target.launch import open_target
from rig.target.secrets import Secrets
from rig.target.store import Store, open_store
from rig.target.tenants import provision
from rig.text import last_lines

_PREPARE_S = 60.0
"""For the database and the tables, on top of the target's ready_timeout_s."""
_STOP_S = 30.0
_SAYS = "rig: "
_ERRORS: Mapping[int, type[RigError]] = {
    kind.exit_code: kind for kind in (RigError, UsageError, ConfigError, Unavailable, EvidenceError)
}


@dataclass(frozen=True, slots=True)
class RunningTarget:
    """A target that runs: its addresses, and the credentials that a person needs. ``born_s``: its process's start."""

    pid: int
    born_s: float
    url: str
    truth_dsn: str
    runtime_dsn: str
    tenants: Mapping[str, Mapping[str, Any]]

    def document(self) -> dict[str, Any]:
        return asdict(self)

    def shell_lines(self, out: Path) -> str:
        """For a person, ready to be pasted into a shell. ``out``: the results folder that it was started with."""
        lines = [
            f"# the target listens at {self.url} (process {self.pid}); stop it with: {_stop_command(out)}",
            f"export RIG_TARGET_URL={shlex.quote(self.url)}",
            f"export RIG_TRUTH_DSN={shlex.quote(self.truth_dsn)}",
            f"export RIG_RUNTIME_DSN={shlex.quote(self.runtime_dsn)}",
        ]
        for name, tenant in self.tenants.items():
            if tenant["id"] or tenant["api_key"]:  # a service without tenants has one that nobody names
                lines.append(f"# tenant {name}: id {tenant['id']}, API key {tenant['api_key']}")
        return "\n".join(lines)


def start(job: Job, profile: Sequence[str] = ()) -> RunningTarget:
    """Launch the target in the background; ``profile``: the words that choose it. UsageError when one is running.

    When it does not come up, the error that it ended with, else Unavailable.
    """
    state = _state_file(job.settings.out)
    if (running := _read(state)) is not None:
        stop_it = f"stop it with: {_stop_command(job.settings.out)}"
        raise UsageError(f"a target runs already at {running.url} (process {running.pid}); {stop_it}")
    state.parent.mkdir(parents=True, exist_ok=True)
    state.unlink(missing_ok=True)
    log = state.with_name(".up.log")
    words = job.settings.words("out", "seed", "port", "allow_host", "defects")
    command = [*python_module("rig"), "up", "--foreground", *words, *profile]
    log.unlink(missing_ok=True)
    process = start_child(command, output=log)
    ready_s = job.profile.launch.ready_timeout_s if job.profile.launch else 0.0
    try:
        wait_until(lambda: _read(state) is not None, process, ready_s + _PREPARE_S)
        if (running := _read(state)) is None:
            error = _ERRORS.get(process.returncode or 0, Unavailable)
            raise error(f"the target did not come up: {_last_words(read_end(log))} (log: {log})")
    except BaseException:  # interrupted, too: nobody would know of what comes up afterwards
        end(process, _STOP_S)
        raise
    return running


def _last_words(written: bytes) -> str:
    """The rig's own error message, which may be followed by advice; else the last line."""
    said = written.decode(errors="replace")
    _, *errors = re.split(f"^{_SAYS}", said, flags=re.MULTILINE)
    return errors[0].strip() if errors else last_lines(said)


def serve(job: Job, environ: Mapping[str, str]) -> None:
    """Keep the target running until SIGINT or SIGTERM."""
    state = _state_file(job.settings.out)
    logs = state.with_name(".up")
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)  # the target's logs are nobody else's to read
    known = Secrets()
    try:
        with Supervisor() as supervisor, open_store(job.profile, supervisor, environ, logs) as store:
            known.learn_from(job.profile, environ, store)
            _keep_running(job, store, logs, environ, state, known)
    except RigError as error:
        raise type(error)(known.blank(str(error))) from None  # it may quote the target's last words
    finally:
        known.clean(logs)


def _keep_running(job: Job, store: Store, logs: Path, environ: Mapping[str, str], state: Path, known: Secrets) -> None:
    with open_target(job.profile, job.profile_dir, store, logs, environ, job.settings) as target:
        key = draw_run_key(job.settings.seed)
        tenancy = provision(job.profile, key, job.profile.first_tenants, store.truth_dsn, environ, known)
        tenants = {
            tenant.name: {
                "id": tenant.id,
                "api_key": tenancy.credentials[tenant.name].api_key,
                "webhook_secrets": dict(tenancy.credentials[tenant.name].secrets),
            }
            for tenant in tenancy.tenants
        }
        url, runtime_dsn = target.endpoint.url, store.runtime_dsn or ""
        _write(state, RunningTarget(os.getpid(), born_s(psutil.Process()), url, store.truth_dsn, runtime_dsn, tenants))
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
        finally:
            state.unlink(missing_ok=True)


def stop(out: Path) -> str:
    """End what ``start`` launched and wait until it is gone. A sentence that says what was done."""
    state = _state_file(out)
    running = _read(state)
    if running is None:
        state.unlink(missing_ok=True)
        return f"no target is running that was started with --out {out}"
    try:
        process = psutil.Process(running.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(_STOP_S)
    except psutil.NoSuchProcess:
        pass  # it ended by itself meanwhile
    except psutil.TimeoutExpired:
        raise RigError(f"process {running.pid} has not ended within {_STOP_S:g} s; look at {out / '.up.log'}") from None
    return f"stopped {running.url}"


def _stop_command(out: Path) -> str:
    """The words that stop what was started with this results folder, in any folder where it is not the default."""
    return "rig down" if out == DEFAULTS["out"] else f"rig down --out {shlex.quote(str(out.absolute()))}"


def _state_file(out: Path) -> Path:
    return out / ".up.json"


def _write(state: Path, running: RunningTarget) -> None:
    temporary = state.with_name(f"{state.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600, exist_ok=False)
    temporary.write_text(json.dumps(running.document()))
    temporary.replace(state)


def _read(state: Path) -> RunningTarget | None:
    """The target that is running; None where there is none, or the file is a leftover."""
    try:
        running = RunningTarget(**json.loads(state.read_text()))
        process = psutil.Process(running.pid)
        is_running = alive(process) and born_s(process) == running.born_s
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
    return running if is_running else None
