"""``rig up`` and ``rig down``: the target of a profile and its database, kept running for hand use.

Flow: ``start`` launches ``rig up --foreground`` as a process of its own and waits until it has written ``.up.json``
below the results directory; ``serve`` is that process; ``stop`` ends it by the pid and the birth that stand there. The
file holds credentials for use by hand: it is readable by its owner only, and goes with the target.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from rig.errors import ConfigError, EvidenceError, RigError, Unavailable, UsageError
from rig.machine.child import end, python_module
from rig.machine.processes import alive, born_s
from rig.machine.supervisor import Supervisor
from rig.model import RunKey
from rig.run.job import Job
from rig.target.launch import open_target
from rig.target.secrets import Secrets
from rig.target.store import Store, open_store
from rig.target.tenants import provision

_PREPARE_S = 60.0
"""For the database and the tables, beside the time that the target may take to become ready."""
_STOP_S = 30.0
_POLL_S = 0.05
_TENANTS = ("A", "B")
_SAYS = "rig: "
_ERRORS: Mapping[int, type[RigError]] = {
    kind.exit_code: kind for kind in (RigError, UsageError, ConfigError, Unavailable, EvidenceError)
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands: addresses and the credentials that a person needs. ``born_s`` as in ``rig.machine.processes``."""

    pid: int
    born_s: float
    url: str
    truth_dsn: str
    runtime_dsn: str
    tenants: Mapping[str, Mapping[str, Any]]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def described(self) -> str:
        """As lines for a person, ready for a shell."""
        lines = [
            f"# the target listens at {self.url} (process {self.pid}); stop it with: rig down",
            f"export RIG_TARGET_URL={shlex.quote(self.url)}",
            f"export RIG_TRUTH_DSN={shlex.quote(self.truth_dsn)}",
            f"export RIG_RUNTIME_DSN={shlex.quote(self.runtime_dsn)}",
        ]
        for name, tenant in self.tenants.items():
            lines.append(f"# tenant {name}: id {tenant['id']}, API key {tenant['api_key']}")
        return "\n".join(lines)


def start(job: Job, profile: Path | None) -> Standing:
    """Launch the target in the background. UsageError when one stands already.

    When it does not come up, the error that it ended with; Unavailable where that was none, or takes too long.
    """
    state = _state_file(job.settings.out)
    if (standing := _read(state)) is not None:
        raise UsageError(f"a target stands already at {standing.url} (process {standing.pid}); stop it with: rig down")
    state.parent.mkdir(parents=True, exist_ok=True)
    state.unlink(missing_ok=True)
    log = state.with_name(".up.log")
    settings = job.settings
    command = [
        *python_module("rig"),
        "up",
        "--foreground",
        "--out",
        str(settings.out),
        "--seed",
        str(settings.seed),
    ]
    command += ["--port", str(settings.port), *(["--profile", str(profile)] if profile else [])]
    command += ["--allow-host", settings.allow_host] if settings.allow_host else []
    command += [word for defect in settings.defects for word in ("--defect", defect)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    ready_s = job.profile.launch.ready_timeout_s if job.profile.launch else 0.0
    deadline = time.monotonic() + ready_s + _PREPARE_S
    try:
        while (standing := _read(state)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                error = _ERRORS.get(process.returncode or 0, Unavailable)
                raise error(f"the target did not come up: {_last_words(log.read_text(errors='replace'))} (log: {log})")
            time.sleep(_POLL_S)
    except BaseException:  # interrupted, too: nobody would know of what comes up afterwards
        end(process, _STOP_S)
        raise
    return standing


def _last_words(said: str) -> str:
    """What the rig said of its end, which may be followed by an advice; else the last line."""
    _, *errors = re.split(f"^{_SAYS}", said, flags=re.MULTILINE)
    lines = said.strip().splitlines() or ["it said nothing"]
    return errors[0].strip() if errors else lines[-1]


def serve(job: Job, environ: Mapping[str, str]) -> None:
    """Keep the target running until SIGINT or SIGTERM."""
    state = _state_file(job.settings.out)
    logs = state.with_name(".up")
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)  # the target's logs are nobody else's to read
    known = Secrets()
    try:
        with Supervisor() as supervisor, open_store(job.profile, supervisor, environ, logs) as store:
            known.learn_from(job.profile, environ, store)
            _stand(job, store, logs, environ, state, known)
    except RigError as error:
        raise type(error)(known.blanked(str(error))) from None  # it may quote the target's last words
    finally:
        known.clean(logs)


def _stand(job: Job, store: Store, logs: Path, environ: Mapping[str, str], state: Path, known: Secrets) -> None:
    with open_target(job.profile, job.profile_dir, store, logs, environ, job.settings) as target:
        key = RunKey(job.settings.seed, secrets.token_hex(6), int(time.time()))
        tenancy = provision(job.profile, key, _TENANTS, store.truth_dsn, environ, known)
        tenants = {
            tenant.name: {
                "id": tenant.id,
                "api_key": tenancy.credentials[tenant.name].api_key,
                "webhook_secrets": dict(tenancy.credentials[tenant.name].secrets),
            }
            for tenant in tenancy.tenants
        }
        url, runtime_dsn = target.endpoint.url, store.runtime_dsn or ""
        _write(state, Standing(os.getpid(), born_s(psutil.Process()), url, store.truth_dsn, runtime_dsn, tenants))
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
        finally:
            state.unlink(missing_ok=True)


def stop(out: Path) -> str:
    """End what ``start`` launched and wait until it is gone; a sentence that says what was done."""
    state = _state_file(out)
    standing = _read(state)
    if standing is None:
        state.unlink(missing_ok=True)
        return "nothing stands"
    try:
        process = psutil.Process(standing.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(_STOP_S)
    except psutil.NoSuchProcess:
        pass  # it ended by itself between the two looks
    except psutil.TimeoutExpired:
        raise RigError(
            f"process {standing.pid} has not ended within {_STOP_S:g} s; look at {out / '.up.log'}"
        ) from None
    return f"stopped {standing.url}"


def _state_file(out: Path) -> Path:
    return out / ".up.json"


def _write(state: Path, standing: Standing) -> None:
    temporary = state.with_name(f"{state.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600, exist_ok=False)
    temporary.write_text(json.dumps(standing.document()))
    temporary.replace(state)


def _read(state: Path) -> Standing | None:
    """What stands now; None when nothing does or the file is a leftover."""
    try:
        standing = Standing(**json.loads(state.read_text()))
        process = psutil.Process(standing.pid)
        stands = alive(process) and born_s(process) == standing.born_s
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
    return standing if stands else None
