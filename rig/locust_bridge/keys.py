"""The secrets of one locust master: who may use its web UI, and which workers it takes.

Flow: whoever starts master and workers makes the workers' key and hands it on by environment, so it is in no process
list. The master makes the token of its UI and prints it. A locust that was started with ``--master`` writes the
workers' key to a file that only this user reads, and ``rig worker`` finds it by the port. Worker and master make the
keys of their line (ZeroMQ's CURVE) from it: whoever does not know it is not even heard, and nobody reads the plan on
its way.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rig.errors import UsageError
from rig.machine.supervisor import Supervisor

WEB_TOKEN = "RIG_WEB_TOKEN"
"""The environment variable with the token of the web UI."""
WORKER_KEY = "RIG_WORKER_KEY"
"""The environment variable with the key of the workers."""


def new_key() -> str:
    """A secret that nobody guesses."""
    return secrets.token_urlsafe(32)


def take_key(variable: str) -> str:
    """What the environment says, and take it out there: the target is a child of this process. Empty where nothing."""
    return os.environ.pop(variable, "")


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """What one master asks for. With ``worker_given`` its workers have the key from whoever started both."""

    web_token: str = field(repr=False)
    worker: str = field(repr=False)
    worker_given: bool

    @classmethod
    def take(cls) -> MasterKeys:
        """Those of the environment; a new key for workers where it has none."""
        web_token, worker = take_key(WEB_TOKEN), take_key(WORKER_KEY)
        return cls(web_token, worker or new_key(), bool(worker))


def key_file(port: int) -> Path:
    """Where a master of this user that listens at ``port`` has the key of its workers, in a folder of its own."""
    return Path(tempfile.gettempdir()).absolute() / f"rig-worker-key-{os.geteuid()}-{port}" / "key"


def write_key(file: Path, key: str) -> None:
    """Write the key where only this user reads it; UsageError where somebody else was there first."""
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        _require_own(file.parent)
        file.unlink(missing_ok=True)
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(key, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: the workers' key cannot be written: {error.strerror}; set {WORKER_KEY}") from None


def keep_key(port: int, key: str, supervisor: Supervisor, say: Callable[[str], None]) -> Path:
    """Write the key for the workers that this user starts by hand, to a file that is gone when the supervisor is.

    Returns its folder.
    """
    file = key_file(port)
    write_key(file, key)
    supervisor.remove_at_end(file.parent)
    say(f"a worker on another machine needs the key of this master: rig worker --key {file}")
    return file.parent


def read_key(file: Path) -> str:
    """The key, empty where there is no file; UsageError where others could have written or read it."""
    try:
        _require_own(file.parent)
        _require_own(file)
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: the key of the workers cannot be read: {error}") from None


def line_key(key: str) -> bytes:
    """The secret half of the master's CURVE key; whoever has the key can make the public half, too."""
    from zmq.utils import z85

    return z85.encode(hashlib.sha256(key.encode()).digest())


def _require_own(path: Path) -> None:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UsageError(f"{path} may be read or written by others, so it keeps no secret: remove it, or chmod go= it")
