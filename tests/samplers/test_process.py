"""A sampler's process, wherever the rig was started."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from rig.evidence.sample_names import PG_ACTIVITY, PIDS, Role
from rig.samplers.process import SamplerProcess
from rig.samplers.roles import Rule


def test_a_folder_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler works in another directory than the rig (``rig run`` in a user's own, with ``--out results``)."""
    monkeypatch.chdir(tmp_path)
    folder = Path("samples")
    folder.mkdir()
    rules = [asdict(Rule(Role.RIG, (os.getpid(),)))]
    options = {"hz": 5.0, "rules": rules, "samplers": [], "backend": None, "aside": [os.getpid()]}
    with SamplerProcess(PIDS, folder, options) as sampler:
        assert sampler.alive, sampler.failure
    assert sampler.failure == ""
    assert any(path.stat().st_size for path in (tmp_path / "samples").iterdir())


@pytest.mark.parametrize("name", [PIDS, PG_ACTIVITY])
def test_it_starts_without_what_takes_long_to_import(name: str) -> None:
    code = f"import sys, rig.samplers.{name}; print(*sorted({{'numpy', 'pandas', 'pydantic'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
