"""Imports point one way (pyproject.toml, [tool.importlinter]), and every contract about that can be broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("fleet_jwks", "rig", "scenarios", "stub_server")
COMMAND = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"

WRONG_IMPORTS = {
    "layers": ("rig/evidence/pack.py", "import rig.truth.reader"),
    "offline": ("rig/checks/rows.py", "import psycopg"),
    "scenarios": ("scenarios/ladder.py", "from rig.profile import load_profile"),
    "service": ("stub_server/null.py", "import rig.errors"),
    "target": ("rig/run/steps.py", "import stub_server.null"),
    "locust": ("rig/engine/pool.py", "import locust"),
    "locust-master": ("rig/cli/main.py", "import rig.locust_bridge.master"),
}


def linted(root: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the packages below a directory."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND],
        cwd=root,
        env={"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def contracts() -> dict[str, str]:
    """The name of each contract by its id."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {contract["id"]: contract["name"] for contract in document["tool"]["importlinter"]["contracts"]}


def test_imports_point_one_way() -> None:
    done = linted(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(contracts())} kept, 0 broken" in done.stdout


def test_every_contract_can_be_broken(tmp_path: Path) -> None:
    assert set(contracts()) == set(WRONG_IMPORTS)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line in WRONG_IMPORTS.values():
        with (tmp_path / file).open("a") as source:
            source.write(f"\n{line}\n")
    done = linted(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    for name in contracts().values():
        assert re.search(rf"^{re.escape(name)} BROKEN", done.stdout, re.MULTILINE), name
