"""Runs ``tests/inside_locust`` in a process of its own: locust patches that, and here its name is that of a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("zmq", reason="the extra `locust` is not installed")

ROOT = Path(__file__).parents[2]
INSIDE = sorted(path for path in (ROOT / "tests/inside_locust").glob("*.py") if path.stem != "__init__")


def test_what_runs_inside_locust(tmp_path: Path) -> None:
    words = ("-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "--import-mode=importlib", "--basetemp")
    ended = subprocess.run(
        [sys.executable, *words, str(tmp_path / "inside"), *map(str, INSIDE)],
        cwd=ROOT,
        env={**os.environ, "LOCUST_SKIP_MONKEY_PATCH": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
