"""The machine, the software and the target of a run: a flat record for the manifest."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

import rig
from rig.machine.cgroup import allowed_cores, quota_cores, throttled_s
from rig.text import one_line

_LIBRARIES = ("uvloop", "httptools", "hdrhistogram", "psycopg", "pandas", "pyarrow", "aiohttp", "matplotlib")
TARGET_COMMIT = "RIG_TARGET_COMMIT"
_CI_RUN_ADDRESS = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")


def fingerprint(environ: Mapping[str, str], target_commit: str | None = None) -> dict[str, Any]:
    """The record of this machine and this rig, now.

    ``target_commit`` is what the profile names; RIG_TARGET_COMMIT in the environment overrides it.
    """
    memory = psutil.virtual_memory()
    return {
        "cores": os.cpu_count(),
        "cores_allowed": allowed_cores(),
        "cpu_quota_cores": quota_cores(),
        "cpu_throttled_s": throttled_s(),
        "cpu_model": _cpu_model(),
        "cpu_governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "load_average": list(os.getloadavg()),
        "memory_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "kernel": platform.release(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "rig": rig.__version__,
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "boot_id": _read(Path("/proc/sys/kernel/random/boot_id")),
        "code_sha256": _code_sha256(),
        **_commit(),
        "target_commit": one_line(environ.get(TARGET_COMMIT) or target_commit or "") or None,
        "ci_run": _ci_run(environ),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _code_sha256() -> str:
    """SHA-256 over the sources of the rig and its stubs: the version and the commit do not show every change."""
    found = hashlib.sha256()
    root = Path(rig.__file__).parents[1]
    for package in ("rig", "stub_server"):
        for path in sorted((root / package).rglob("*.py")):
            found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return found.hexdigest()


def _cpu_model() -> str | None:
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or None


def _commit(file: Path = Path(__file__)) -> dict[str, Any]:
    """Commit of the rig and whether its files differ from it; None where it is no git checkout.

    ``file`` is one of the rig's. If a repository does not track it, the rig is only installed inside that repository.
    """

    # Within a hook of git its variables name the repository of the hook.
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *words], cwd=file.parent, env=own, capture_output=True, text=True, timeout=5, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if git("ls-files", "--error-unmatch", file.name) is None:
        return {"commit": None, "commit_dirty": None}
    status = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "commit_dirty": None if status is None else bool(status)}


def _ci_run(environ: Mapping[str, str]) -> str | None:
    server, repository, run = (one_line(environ.get(name, "")) for name in _CI_RUN_ADDRESS)
    return f"{server}/{repository}/actions/runs/{run}" if server and repository and run else None
